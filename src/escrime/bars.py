"""A bar with the time that is left on a terminal or in a notebook; where nobody is watching, a line now and then."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .terminal import duration, printable

LINE_EVERY = 30  # seconds between signs of life where no bar can be drawn
RECENT = 30  # seconds that tell the pace; half of the time so far, where that is longer
EXTRA = 4  # columns of a terminal that a row leaves free: the spinner, and a rest
WIDEST = 10_000  # columns, which no table has
TITLE, NOTE = 26, 10  # columns of a title beside other things; the fewest that a note is worth

BEGUN = 0.01  # share that is done before its pace tells anything: what comes first may be of another kind than the rest

_now = time.monotonic  # a test has a clock of its own


class Work:
    """How far a piece of work has come, and how long the rest will take at its present pace."""

    def __init__(self, title: str, total: float | None) -> None:
        self.title, self.total, self.done, self.note = printable(title), total, 0.0, ""
        self.began, self.over = _now(), False
        self.ends: float | None = None
        self._seen = deque([(self.began, 0.0)])  # (when, how much was done), a second or more apart

    def advance(
        self,
        amount: float = 1,
        note: str | None = None,
        done: float | None = None,
        total: float | None = None,
        within: float | None = None,
    ) -> None:
        """More is done: `amount` of it, or `done` in all, of `total` where that is another now. note: what is being done.
        within: seconds after which it ends, whatever is done by then."""
        self.ends = None if within is None else _now() + within
        self.note = self.note if note is None else printable(note)
        self.done, self.total = (self.done + amount if done is None else done), (self.total if total is None else total)
        if (now := _now()) - self._seen[-1][0] >= 1:
            self._seen.append((now, self.done))
            while len(self._seen) > 2 and now - self._seen[1][0] > max(RECENT, (now - self.began) / 2):
                self._seen.popleft()

    @property
    def share(self) -> float | None:
        """How much of it is done, None where nobody knows."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def left(self) -> float | None:
        """Seconds until it is done, None where nobody knows; they grow while nothing moves."""
        when, before = self._seen[0]
        gained, took = self.done - before, _now() - when
        rest = 0.0 if not self.total else self.total - self.done
        hardly = self.ends is None and (self.share or 0.0) < BEGUN
        if hardly or not (rest > 0 and gained > 0 and took > 0):
            return None  # too little yet, or more than was expected: who knows
        return rest * took / gained if self.ends is None else min(rest * took / gained, max(self.ends - _now(), 0.0))

    @property
    def state(self) -> str:
        """ "45 %, 3 min left", or the time so far; at the end the time that it took."""
        took = duration(_now() - self.began, about=True)
        if self.over:
            return f"done in {took}"
        left, so_far = self.left, f"{took} so far"
        shown = [] if self.share is None else [f"{100 * self.share:.0f} %"]
        return ", ".join([*shown, so_far if left is None else f"{duration(left, about=True)} left"])


class _Row(ProgressColumn):
    """Title, bar, state and note of a Work, as much of them as the terminal is wide."""

    def __init__(self, console: Console, work: Work) -> None:
        super().__init__()
        self.console, self.work = console, work

    def render(self, task: Task) -> RenderableType:
        work, state = self.work, Text(self.work.state)
        rest = self.console.width - EXTRA - state.cell_len - 1
        title = Text(work.title)
        title.truncate(max(min(rest, TITLE if rest < 2 * TITLE + NOTE else rest // 2), 1), overflow="ellipsis")
        rest -= title.cell_len + 1
        cells: list[RenderableType] = [title]
        if rest > 8:
            wide = min(max(rest // 3, 8), 30)
            cells.append(ProgressBar(work.total, work.done, width=wide, pulse=work.total is None))
            rest -= wide + 1
        cells.append(state)
        if work.note and rest > NOTE:
            note = Text(work.note)
            note.truncate(rest, overflow="ellipsis")
            cells.append(note)
        row = Table.grid(padding=(0, 1))
        for _ in cells:
            row.add_column(no_wrap=True)
        row.add_row(*cells)
        return row


class Heart:
    """Calls `beat` whenever LINE_EVERY seconds have passed, from a thread of its own: also while one call takes hours."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat, self._over = beat, threading.Event()
        self._thread = threading.Thread(target=self.live, args=(self._over.wait,), name="escrime-heart", daemon=True)

    def live(self, over: Callable[[float], Any]) -> None:
        """Beat until over(seconds), which waits so long, is true."""
        while not over(LINE_EVERY):
            try:
                self.beat()
            except (OSError, ValueError):  # nobody reads any more
                return

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def bar(console: Console, title: str, total: float | None) -> Iterator[Callable[..., None]]:
    """Within the block, call the yielded advance(amount) or advance(done=..., total=...) as work is done."""
    work = Work(title, total)
    if is_watched(console):
        with Progress(SpinnerColumn(), _Row(console, work), console=console) as progress:
            progress.add_task(work.title, total=None)
            yield work.advance
            work.over = True
        return

    def tell() -> None:
        say(console, f"{work.title}: {', '.join(filter(None, (work.state, work.note)))}")

    with Heart(tell):
        yield work.advance
    say(console, f"{work.title}: done{', ' + work.note if work.note else ''}")


def is_watched(console: Console) -> bool:
    """Whether somebody sees a bar move: a terminal, or a notebook."""
    return console.is_terminal or console.is_jupyter


def say(console: Console, text: RenderableType = "", whole: bool = False) -> None:
    """Print `text`, or a table; a `whole` line is not broken, however wide, as the rows of a table should not be."""
    text = printable(text) if isinstance(text, str) else fitting(console, text) if isinstance(text, Table) else text
    console.print(text, soft_wrap=whole, markup=False, emoji=False)


def fitting(console: Console, table: Table) -> RenderableType:
    """`table`, or its rows as sentences where the console is too narrow: rich would cut numbers and drop columns."""
    if table.__rich_measure__(console, console.options.update(max_width=WIDEST)).minimum <= console.width:
        drawn = "".join(segment.text for segment in console.render(table))
        if drawn.count("…") <= sum(str(cell).count("…") for column in table.columns for cell in column.cells):
            return table
    heads = [str(column.header) for column in table.columns]
    lines = [] if table.title is None else [str(table.title)]
    for first, *cells in zip(*(column.cells for column in table.columns), strict=True):
        told = (f"{head} {str(cell).strip()}".strip() for head, cell in zip(heads[1:], cells, strict=True) if str(cell).strip())
        lines.append(f"{str(first).strip()}: {', '.join(told)}")
    return Text("\n".join(lines))
