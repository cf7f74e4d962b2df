"""A bar with a time estimate on a terminal or in a notebook, plain lines where nobody is watching."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .terminal import printable

LINE_EVERY = 60  # seconds between lines where no bar can be drawn


@contextmanager
def bar(console: Console, title: str, total: float | None) -> Iterator[Callable[..., None]]:
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
    live = is_watched(console)
    with Progress(*columns, console=console, disable=not live) as progress:
        task = progress.add_task(printable(title), total=total, note="")
        last_note, last_line = "", time.monotonic()

        def advance(amount: float = 1, note: str | None = None, done: float | None = None, total: float | None = None) -> None:
            nonlocal last_note, last_line
            last_note = last_note if note is None else printable(note)
            if done is None:
                progress.update(task, advance=amount, note=last_note)
            else:
                progress.update(task, completed=done, total=total, note=last_note)
            if not live and time.monotonic() - last_line > LINE_EVERY:
                last_line = time.monotonic()
                say(console, f"{title}: {progress.tasks[0].percentage:.0f} %{', ' + last_note if last_note else ''}")

        yield advance
    if not live:
        say(console, f"{title}: done{', ' + last_note if last_note else ''}")


def is_watched(console: Console) -> bool:
    """Whether somebody sees a bar move: a terminal, or a notebook."""
    return console.is_terminal or console.is_jupyter


def say(console: Console, text: RenderableType = "", whole: bool = False) -> None:
    """Print `text`, or a table; a `whole` line is not broken, however wide, as the rows of a table should not be."""
    text = printable(text) if isinstance(text, str) else text
    console.print(text, soft_wrap=whole, markup=False, emoji=False)
