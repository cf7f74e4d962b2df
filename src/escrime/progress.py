"""What `progress=` of the Python interface means, everywhere: a bar, a callable that is called, or nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

Listener = Callable[[float, float, str], None]  # (done, total, what is being done); the total is an estimate
ProgressOption = bool | Listener | None
PATIENCE = 2.0  # seconds before a bar that nobody asked for appears: what is over by then needs none


@contextmanager
def shown(progress: ProgressOption, title: str) -> Iterator[Listener | None]:
    """Within the block, tell the yielded listener how far the work is; None where nobody listens.

    Args:
        progress: A callable (done, total, note), which is called; True for a bar (lines where no bar can be drawn); False for
            nothing; None for a bar where a terminal or a notebook shows it move, once the work has taken PATIENCE.
        title: Of the bar.

    Yields:
        The listener.
    """
    if callable(progress):
        yield progress
        return
    if progress is not None and not progress:
        yield None
        return
    from . import bars  # rich, which is not waited for where nothing is drawn
    from .terminal import make_console

    console = make_console(stderr=True)
    if not progress and not bars.is_watched(console):
        yield None
        return
    with ExitStack() as stack:
        advance: Callable[..., None] | None = None
        began = time.monotonic()

        def listener(done: float, total: float, note: str) -> None:
            nonlocal advance
            if advance is None:
                if not progress and time.monotonic() - began < PATIENCE:
                    return
                advance = stack.enter_context(bars.bar(console, title, None))
            advance(done=done, total=total, note=note)

        yield listener
