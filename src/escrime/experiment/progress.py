"""What a run shows while it works: one bar per stage with a time estimate, plain lines when nobody is watching."""

from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Bars on a terminal; one line per finished stage elsewhere."""

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or Console(quiet=quiet, highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(100, self.console.width)

    def say(self, text: str = "") -> None:
        self.console.print(text)

    @contextmanager
    def bar(self, title: str, total: float | None):
        """Within the block, call the yielded advance(amount=1, note="") as work is done."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<46}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not live) as progress:
            task = progress.add_task(title, total=total, note="")
            last = [""]

            def advance(amount: float = 1, note: str | None = None, done: float | None = None):
                if note is not None:
                    last[0] = note
                if done is not None:
                    progress.update(task, completed=done, note=last[0])
                else:
                    progress.update(task, advance=amount, note=last[0])

            yield advance
        if not live:
            self.say(f"{title}: done{', ' + last[0] if last[0] else ''}")
