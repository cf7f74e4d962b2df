"""board.html: one self-contained page of many runs."""

import os
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from ..norms import norm
from ..results.names import defense_name
from ..results.records import WORST
from ..results.statistics import p_text
from ..terminal import cut, printable
from .board import Board, Entry, Group, History, Step
from .formatting import fraction_text, percent
from .intervals import Point
from .page import environment

WIDE, HIGH = 440, 190  # of a curve's drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 12, 26
LONGEST = 60  # characters of a name in a cell: the rest stands in its tooltip


@dataclass(frozen=True)
class Row:
    """One line of a table; `sort`: what its columns are sorted by, by name."""

    model: str
    defense: str
    verdict: str
    robust: Point
    clean: str
    believe: bool
    newest: bool
    reason: str
    images: str
    date: str
    run: str
    link: str
    sort: dict[str, str | float]


@dataclass(frozen=True)
class Mark:
    """A run in a curve: its place, the ends of its interval, and what it says."""

    x: float
    y: float
    low: float
    high: float
    believe: bool
    link: str
    label: str


@dataclass(frozen=True)
class Curve:
    """A model over its runs, oldest first: its drawing, the last step in words, and all steps."""

    name: str
    marks: list[Mark]
    first: str
    last: str
    verdict: str
    steps: list[tuple[str, str, str]]
    warnings: list[str]

    @property
    def path(self) -> str:
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


def render_board(board: Board, out: Path) -> str:
    """The whole page as text; links lead from where `out` lies to the reports."""
    page = environment()
    page.filters |= {"short": lambda text: cut_end(str(text))}
    groups = [shown(group, number, out.parent) for number, group in enumerate(board.groups)]
    heads = [(group["data"], group["eps"]) for group in groups]
    for group, head in zip(groups, heads, strict=True):
        group["alike"] = heads.count(head) > 1  # then the link to it says more
    text = page.get_template("board.html.j2").render(
        groups=groups,
        runs=len(board.runs),
        models=len({entry.verdict.model for group in board.groups for entry in group.entries}),
        left_out=[(from_here(folder, out.parent), cut(reason, 600)) for folder, reason in board.left_out],
        newest=max((day(entry) for group in board.groups for entry in group.entries), default=""),
        **{"wide": WIDE, "high": HIGH, "left": LEFT, "right": WIDE - RIGHT, "height": height},
    )
    return printable(text, lines=True)


def shown(group: Group, number: int, place: Path) -> dict:
    """One setting as the template takes it."""
    setting, first = group.setting, group.entries[0].run
    older = {id(entry) for history in group.histories for entry in history.entries[:-1]}
    about = first.manifest.get("dataset", {})
    facts = [f"{setting.subset} images" if setting.subset else "", f"{about.get('test')} images" if about.get("test") else ""]
    facts += [first.class_count if first.classes else "", f"{about['size']} px" if about.get("size") else ""]
    return {
        "id": f"group-{number}",
        "data": first.data_name or "unnamed data",
        "facts": ", ".join(filter(None, facts)),
        "fingerprint": about.get("fingerprint") or "",
        "eps": fraction_text(setting.eps, setting.norm) + (norm(setting.norm).eps_in_words or " in l_inf"),
        "attacker": setting.attacker,
        "rows": [row(entry, place, id(entry) not in older) for entry in group.entries],
        "curves": [curve(history, place) for history in group.histories],
    }


def row(entry: Entry, place: Path, newest: bool) -> Row:
    verdict, about = entry.verdict, entry.run.manifest.get("dataset", {})
    whole = about.get("subsets", {}).get(verdict.subset) if verdict.subset else about.get("test")
    return Row(
        model=verdict.model,
        defense=defense_name(verdict.defense),
        verdict=verdict.sentence,
        robust=Point(verdict.eps, verdict.accuracy, verdict.low, verdict.high, verdict.n),
        clean=percent(verdict.clean),
        believe=verdict.believe,
        newest=newest,
        reason=verdict.reason[:1].upper() + verdict.reason[1:],
        images=f"{verdict.n} of {whole}" if whole and whole != verdict.n else str(verdict.n),
        date=day(entry),
        run=from_here(entry.run.folder, place),
        link=report_link(entry, place),
        sort={
            "model": f"{verdict.model} {defense_name(verdict.defense)}".lower(),
            "robust": verdict.accuracy,
            "clean": verdict.clean,
            "believe": int(verdict.believe),
            "n": verdict.n,
            "date": day(entry),
        },
    )


def curve(history: History, place: Path) -> Curve:
    first, last = history.entries[0], history.entries[-1]
    points = [mark(entry, at, len(history.entries), place) for at, entry in enumerate(history.entries)]
    defense = first.verdict.defense
    name = first.verdict.model + ("" if defense == "none" else f" with {defense_name(defense)}")
    verdict = history.steps[-1].pair.verdict if history.steps[-1].pair else "cannot be compared"
    warnings = dict.fromkeys(warning for step in history.steps for warning in step.warnings)
    return Curve(name, points, day(first), day(last), verdict, [step_words(step, place) for step in history.steps], [*warnings])


def mark(entry: Entry, at: int, many: int, place: Path) -> Mark:
    verdict = entry.verdict
    x = LEFT + (WIDE - LEFT - RIGHT) * (at + 0.5) / many
    said = Point(verdict.eps, verdict.accuracy, verdict.low, verdict.high, verdict.n)
    words = f"{from_here(entry.run.folder, place)}, {day(entry)}: {said.text}, n = {verdict.n}"
    words += "" if verdict.believe else ", not as it stands"
    y, low, high = (height(share) for share in (verdict.accuracy, verdict.low, verdict.high))
    return Mark(x, y, low, high, verdict.believe, report_link(entry, place), words)


def height(share: float) -> float:
    """Where a share stands in the drawing, from its top."""
    return round(TOP + (HIGH - TOP - BOTTOM) * (1 - share), 1)


def step_words(step: Step, place: Path) -> tuple[str, str, str]:
    """(its verdict, what was found, the command that shows all of it from where the page lies)."""
    before, after = (from_here(entry.run.folder, place) for entry in (step.before, step.after))
    ways = f"{before} → {after}: "
    if step.pair is None:
        return "cannot be compared", ways + cut(step.reason, 600), ""
    found = step.pair.comparison
    gain = Point(found.eps, found.difference, found.low, found.high, found.n)
    words = f"{ways}{gain.points} on {found.n} images both have, {p_text(step.pair.p_holm, 'p')}"
    if step.before.weights and step.before.weights == step.after.weights:
        words += "; the weights are the same, so attacks or settings differ"
    eps = fraction_text(step.after.setting.eps, step.after.setting.norm)
    options = ["--model", step.after.verdict.model, "--attack", WORST, "--eps", eps]
    return step.pair.verdict, words, shlex.join(["escrime", "compare", before, after, *options])


def day(entry: Entry) -> str:
    """2026-01-02 03:04, in UTC; "" without a date."""
    seconds = entry.created[0]
    return "" if seconds == float("-inf") else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def from_here(folder: Path, place: Path) -> str:
    """A folder as it is reached from `place`; as it is where there is no way."""
    try:
        return os.path.relpath(folder.resolve(), place.resolve())
    except ValueError:  # another drive
        return str(folder)


def report_link(entry: Entry, place: Path) -> str:
    """The address of a run's report.html, relative to the page; "" where none is drawn."""
    page = entry.run.folder / "report.html"
    if not page.is_file():
        return ""
    way = from_here(page, place)
    return Path(way).as_uri() if os.path.isabs(way) else quote(Path(way).as_posix())


def cut_end(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
