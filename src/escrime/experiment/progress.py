"""What a run shows while it works: one bar per stage with a time estimate, plain lines when nobody is watching."""

import time
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..terminal import make_console, printable

LINE_EVERY = 60  # seconds between lines where no bar can be drawn


class Display:
    """Bars on a terminal; one line per finished stage elsewhere."""

    def __init__(self, console=None, quiet: bool = False):
        self.console = console or make_console(quiet=quiet)
        if not self.console.is_terminal:
            self.console.width = max(100, self.console.width)

    def say(self, text: str = "", whole: bool = False) -> None:
        """Print `text`; a `whole` line is not broken, however wide, as the rows of a table should not be."""
        text = printable(text) if isinstance(text, str) else text
        self.console.print(text, soft_wrap=whole, markup=False, emoji=False)

    @contextmanager
    def bar(self, title: str, total: float | None):
        """Within the block, call the yielded advance(amount) or advance(done=..., total=...) as work is done."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<46}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not live) as progress:
            task = progress.add_task(printable(title), total=total, note="")
            last_note, last_line = "", time.monotonic()

            def advance(amount: float = 1, note: str | None = None, done: float | None = None, total: float | None = None):
                nonlocal last_note, last_line
                last_note = last_note if note is None else printable(note)
                change = {"advance": amount} if done is None else {"completed": done, "total": total}
                progress.update(task, note=last_note, **change)
                if not live and time.monotonic() - last_line > LINE_EVERY:
                    last_line = time.monotonic()
                    self.say(f"{title}: {progress.tasks[0].percentage:.0f} %{', ' + last_note if last_note else ''}")

            yield advance
        if not live:
            self.say(f"{title}: done{', ' + last_note if last_note else ''}")

    @contextmanager
    def reading(self):
        """A bar while images are read; yields what `data.load` takes as `progress`."""
        with self.bar("Read the images", None) as advance:
            yield lambda done, total: advance(done=done, total=total, note=f"{done} of {total}")
