"""Signals that end a program."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_like_ctrl_c() -> Iterator[list[int]]:
    """Within the block SIGTERM, which batch systems and `kill` send, stops the program as Ctrl-C does: nothing half-written is
    left. Yields a list that holds the signal once it came; a second one ends at once. Not under torchrun, whose processes may
    wait for each other where no Python runs."""
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        ended.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or os.environ.get("WORLD_SIZE", "1") != "1":
        yield ended
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGTERM, before)
