"""Signs of life: the time that is left, as much of a row as the terminal is wide, a line every 30 seconds elsewhere."""

import io
import re
import time

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from escrime import bars
from escrime.terminal import make_console


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves: clock[0] seconds."""
    now = [0.0]
    monkeypatch.setattr(bars, "_now", lambda: now[0])
    return now


def rows(width, work):
    """What the terminal shows of a work, without what steers it."""
    out = io.StringIO()
    console = make_console(file=out, force_terminal=True, width=width, color_system=None)
    console.print(bars._Row(console, work).render(None))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("title", ["Attack", "Harden googlenet-of-my-own-company (n-fgsm)", "中文" * 20])
def test_a_row_is_one_row_and_tells_the_time_left(width, title, clock):
    work = bars.Work(title, None)
    clock[0] = 60
    work.advance(done=30, total=120, note="AutoAttack on the images that still stand")
    (row,) = rows(width, work)
    assert cell_len(row.rstrip()) <= width - 2 and "25 %, 3 min left" in row
    assert "AutoAttack" in row or width < 80


def test_a_total_that_changes_does_not_forget_the_pace(clock):
    work = bars.Work("Attack", None)
    for second in range(1, 101):
        clock[0] = second
        work.advance(done=second, total=400 + second % 7)
    assert work.left == pytest.approx(300, rel=0.03)


def test_what_has_hardly_begun_says_no_time(clock):
    """Of five attacks the first steps of the first one tell little: 85 hours were said of one."""
    work = bars.Work("Attack", 1000)
    clock[0] = 10
    work.advance(done=9)
    assert work.left is None and work.state.endswith("so far")
    work.advance(done=10)
    assert work.left == pytest.approx(990)


def test_what_ends_by_then_takes_no_longer(clock):
    work = bars.Work("Check", None)
    clock[0] = 10
    work.advance(done=1, total=1000, within=60)
    assert work.left == 60
    clock[0] = 50
    assert work.left == 20
    work.advance(done=990, total=1000, within=20)
    assert work.left < 1
    work.advance(done=990, total=99000)
    assert work.left > 60, "nothing ends it any more"


def test_a_pace_that_changes_is_followed_and_what_stands_takes_longer(clock):
    work = bars.Work("Attack", 1000.0)
    for second in range(1, 51):
        clock[0] = second
        work.advance(10)
    for second in range(51, 201):
        clock[0] = second
        work.advance(1)
    assert work.left == pytest.approx(350, rel=0.05)
    before, clock[0] = work.left, 300
    assert work.left > 1.5 * before


def test_nothing_known_is_the_time_so_far(clock):
    work = bars.Work("Draw the report", None)
    clock[0] = 150
    assert work.state == "2 min so far"
    assert "2 min so far" in rows(40, work)[0]


def test_a_line_every_30_seconds_whatever_the_work_does(clock):
    """The thread's own loop, with a clock that only its waiting moves: the work itself never calls back."""
    waits, told = [], []

    def over(seconds):
        waits.append(seconds)
        clock[0] += seconds
        return len(waits) > 10

    bars.Heart(lambda: told.append(clock[0])).live(over)
    assert told == [30.0 * n for n in range(1, 11)]


def test_a_beat_comes_while_one_call_lasts(monkeypatch):
    monkeypatch.setattr(bars, "LINE_EVERY", 0.01)
    out = io.StringIO()
    with bars.bar(make_console(file=out, width=100), "Train [net]", 4) as advance:
        advance(1, note="epoch 1/4")
        deadline = time.monotonic() + 20
        while out.getvalue().count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = out.getvalue().splitlines()
    assert len(lines) > 3 and lines[-1] == "Train [net]: done, epoch 1/4"
    assert all(re.fullmatch(r"Train \[net\]: 25 %, \d+ s (left|so far), epoch 1/4", line) for line in lines[:-1])


def test_a_stream_that_nobody_reads_ends_the_beats_alone(monkeypatch):
    def broken():
        raise BrokenPipeError

    bars.Heart(broken).live(lambda seconds: False)  # returns


def test_an_error_ends_the_thread_and_passes(monkeypatch):
    import threading

    with pytest.raises(RuntimeError, match="mine"), bars.bar(make_console(file=io.StringIO()), "Attack", 1):
        raise RuntimeError("mine")
    assert not [thread for thread in threading.enumerate() if thread.name == "escrime-heart"]


@pytest.mark.parametrize(("width", "as_table"), [(60, True), (30, False)])
def test_a_table_that_does_not_fit_loses_nothing(width, as_table):
    table = Table("attack", "clean", "ε = 8/255", title="% of 48 images right")
    table.add_row("AutoAttack", "", "95.8% [86–99]")
    table.add_row("FGSM", "100.0% [93–100]", "95.8% [86–99]")
    console = Console(file=io.StringIO(), width=width)
    bars.say(console, table)
    shown = console.file.getvalue()
    assert ("─" in shown or "━" in shown) == as_table and "…" not in shown and max(map(len, shown.splitlines())) <= width
    if not as_table:
        said = "AutoAttack: ε = 8/255 95.8% [86–99] FGSM: clean 100.0% [93–100], ε = 8/255 95.8% [86–99]"
        assert " ".join(shown.split()).endswith(said)
