"""What a run shows while it works: one bar per stage with a time estimate, plain lines when nobody is watching."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console, RenderableType

from ... import bars
from ...data.cache import Progress
from ...evaluation.progress import Meter
from ...models.deadline import time_left
from ...terminal import make_console


class Display:
    """Bars on a terminal; one line per finished stage elsewhere."""

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or make_console(quiet=quiet)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = max(100, self.console.width)  # of a file: nobody said how wide

    def say(self, text: RenderableType = "", whole: bool = False) -> None:
        """Print `text`, or a table; a `whole` line is not broken, however wide, as the rows of a table should not be."""
        bars.say(self.console, text, whole)

    def bar(self, title: str, total: float | None) -> AbstractContextManager[Callable[..., None]]:
        """Within the block, call the yielded advance(amount) or advance(done=..., total=...) as work is done."""
        return bars.bar(self.console, title, total)

    @contextmanager
    def meter(self, title: str) -> Iterator[Meter]:
        """A bar that follows the Meter which is yielded."""
        with self.bar(title, None) as advance:
            meter = Meter(lambda done, total, note: advance(done=done, total=total, note=note, within=time_left()))
            yield meter
            meter.finish()

    @contextmanager
    def reading(self) -> Iterator[Progress]:
        """A bar while images are read; yields what `data.load` takes as `progress`."""
        with self.bar("Read the images", None) as advance:
            yield lambda done, total: advance(done=done, total=total, note=f"{done} of {total}")
