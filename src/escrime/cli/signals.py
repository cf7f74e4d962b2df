"""Signals that end a program."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_like_ctrl_c() -> Iterator[list[int]]:
    """Within the block SIGTERM, which batch systems and `kill` send, stops the program as Ctrl-C does: nothing half-written is
    left. Yields a list that holds the signal, of either kind, once it came, for a library that is being imported may make
    another error of it; a second SIGTERM ends at once. Not under torchrun, whose processes may wait for each other where no
    Python runs."""
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        ended.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or os.environ.get("WORLD_SIZE", "1") != "1":
        yield ended
        return
    asked = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # who ignores it, as nohup does, goes on doing so
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, *([signal.SIGINT] if asked else []))}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
