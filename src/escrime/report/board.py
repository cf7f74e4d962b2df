"""Many runs: their verdicts side by side where they can be compared, and how each model changed from run to run."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..budgets import same
from ..errors import EscrimeError
from ..results.findings import Finding
from ..results.layout import MARKS
from ..results.records import WORST
from ..results.threats import ADAPTIVE, BLACK_BOX, TRANSFER, WHITE_BOX
from ..results.verdicts import Verdict, verdicts
from .headline import headlines
from .run import Run, read_run
from .side_by_side import Pair, SideBySide, compare_read
from .validity import read_verdicts, validity

DEEPEST = 5  # levels of folders that are looked through for runs
OTHERS = {"tune.json": "escrime tune", "training.json": "escrime train"}  # folders of ours that hold no verdict
SEES_ALL, SEES_OUTPUTS, UNAWARE = "sees everything", "sees outputs only", "does not know the defense"
SURROGATES = "has surrogates"
# Threat levels that are one attacker: a defense is attacked by who knows it as a network is by who sees its gradients.
ATTACKERS = {WHITE_BOX: SEES_ALL, ADAPTIVE: SEES_ALL, BLACK_BOX: SEES_OUTPUTS, TRANSFER: UNAWARE}


@dataclass(frozen=True)
class Setting:
    """What numbers must share to be compared: the images (by fingerprint; without one, by the run's folder), the part of them
    that is counted, norm, ε, and what the attacker sees."""

    images: str
    subset: str
    norm: str
    eps: float
    attacker: str


@dataclass(frozen=True)
class Entry:
    """What one run says of one model and defense at one ε."""

    run: Run
    verdict: Verdict
    setting: Setting

    @property
    def created(self) -> tuple[float, str]:
        """When the run was made, to sort by; runs without a date come first, by name."""
        stamp = str(self.run.manifest.get("created", ""))
        try:
            when = datetime.fromisoformat(stamp)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp(), str(self.run.folder)
        except (ValueError, OverflowError, OSError):
            return float("-inf"), str(self.run.folder)

    @property
    def weights(self) -> str | None:
        """The hash of the model's weights, where the run noted one."""
        found = self.run.manifest.get("models", {}).get(self.verdict.model, {}).get("weights")
        return str(found) if found else None


@dataclass(frozen=True)
class Step:
    """From one run of a model to its next: the paired test on the images both have, or the reason why there is none."""

    before: Entry
    after: Entry
    pair: Pair | None
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """One model and defense in several runs of one setting, oldest first."""

    entries: list[Entry]
    steps: list[Step]


@dataclass(frozen=True)
class Group:
    """All entries of one setting, those to be believed first, then by accuracy; and the histories of models among them."""

    setting: Setting
    entries: list[Entry]
    histories: list[History]


@dataclass(frozen=True)
class Board:
    """`left_out`: folders that look like runs but cannot be shown, and why."""

    groups: list[Group]
    runs: list[Run]
    left_out: list[tuple[Path, str]]


def run_folders(places: Iterable[Path]) -> list[Path]:
    """The run folders among `places` and the folders in them, each once. Links below them are not followed.

    Raises:
        EscrimeError: For a place that is no folder, and where no run is in any of them.
    """
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise EscrimeError(f"{place} is no folder; give run folders, or folders that hold them, such as runs.")
        for folder in _below(place):
            found.setdefault(folder.resolve(), folder)
    if not found:
        raise EscrimeError(
            f"no run lies in {', '.join(map(str, places))}; give run folders, or folders that hold them, such as runs."
        )
    return list(found.values())


def _below(folder: Path, depth: int = 0) -> Iterator[Path]:
    if any((folder / name).is_file() for name in MARKS) or (folder / "records").is_dir():
        yield folder
        return
    if depth == DEEPEST:
        return
    try:
        with os.scandir(folder) as entries:
            inner = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:  # a folder that may not be entered holds nothing of ours
        return
    for name in inner:
        yield from _below(folder / name, depth + 1)


def read_board(folders: Iterable[Path], progress: Callable[[], None] = lambda: None) -> Board:
    """Read runs and put together what can be compared: each at its own headline ε and at those of the others, as far as it was
    attacked there. A folder that is damaged or not finished is left out, with the reason. progress: called after each."""
    runs: list[Run] = []
    left_out: list[tuple[Path, str]] = []
    judged: list[tuple[Run, list[Finding], list[Verdict]]] = []
    for folder in folders:
        try:
            run = _finished(folder)
            checked = validity(run)
            judged.append((run, checked, verdicts(run.records, checked, headlines(run))))
            runs.append(run)
        except EscrimeError as error:
            left_out.append((folder, str(error)))
        progress()
    budgets = _distinct((verdict.norm, verdict.eps) for *_, found in judged for verdict in found)
    settled: dict[Setting, list[Entry]] = {}
    for run, checked, own in judged:
        for norm, eps in budgets:
            for verdict in _at(run, checked, own, norm, eps):
                entry = Entry(run, verdict, _setting(run, verdict, eps))
                settled.setdefault(entry.setting, []).append(entry)
    tests: dict[tuple, SideBySide | str] = {}
    groups = [Group(setting, _in_order(found), _histories(found, tests)) for setting, found in settled.items()]
    return Board(sorted(groups, key=lambda group: -len(group.entries)), runs, left_out)


def _finished(folder: Path) -> Run:
    """The run in a folder; EscrimeError for what is no run, damaged, or not finished."""
    for name, command in OTHERS.items():
        if (folder / name).is_file() and not (folder / "manifest.json").exists():
            raise EscrimeError(f"{folder} was made by `{command}` and holds no verdict; evaluate the model first.")
    run = read_run(folder)
    read_verdicts(folder)
    return run


def _distinct(budgets: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """(norm, ε), each once, in the order of norm and size."""
    kept: list[tuple[str, float]] = []
    for norm, eps in sorted(budgets):
        if not (kept and kept[-1][0] == norm and same(kept[-1][1], eps)):
            kept.append((norm, eps))
    return kept


def _at(run: Run, checked: list[Finding], own: list[Verdict], norm: str, eps: float) -> list[Verdict]:
    """The verdicts of a run at this ε of this norm, [] where it was not attacked there; own: those at its headline."""
    rows = run.records[(run.records["norm"] == norm) & (run.records["eps"] > 0)]
    if not same(rows["eps"], eps).any():
        return []
    there = lambda found: [v for v in found if v.norm == norm and same(v.eps, eps)]  # noqa: E731
    already = there(own)
    if {(v.subset, v.model, v.defense) for v in own if v.norm == norm} == {(v.subset, v.model, v.defense) for v in already}:
        return already
    return there(verdicts(run.records, checked, {norm: eps}))


def _setting(run: Run, verdict: Verdict, eps: float) -> Setting:
    about = run.manifest.get("dataset", {})
    attacker = ATTACKERS.get(verdict.threat, verdict.threat)
    sees = run.manifest.get("models", {}).get(verdict.model, {}).get("threat")
    if attacker == SEES_OUTPUTS and sees in ("scores", "labels"):  # of which labels tell less
        attacker = f"sees {sees} only"
    if run.surrogates and attacker != SEES_ALL:
        attacker = SURROGATES if attacker == UNAWARE else f"{attacker}, {SURROGATES}"
    attacker = f"{attacker}; {run.mask}" if run.mask else attacker
    return Setting(about.get("fingerprint") or str(run.folder), verdict.subset, verdict.norm, eps, attacker)


def _in_order(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda e: (not e.verdict.believe, -e.verdict.accuracy, e.verdict.model, e.verdict.defense))


def _histories(entries: list[Entry], tests: dict[tuple, SideBySide | str]) -> list[History]:
    """Each model and defense that stands in several runs, under its one name."""
    named: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.created):
        named.setdefault((entry.verdict.model, entry.verdict.defense), []).append(entry)
    several = [found for found in named.values() if len(found) > 1]
    return [History(found, [_step(*pair, tests) for pair in zip(found, found[1:])]) for found in several]


def _step(before: Entry, after: Entry, tests: dict[tuple, SideBySide | str]) -> Step:
    """As `escrime compare BEFORE AFTER --model MODEL --attack "worst case" --eps EPS` compares them."""
    verdict = after.verdict
    sides = [entry.run.records[entry.run.records["model"] == verdict.model] for entry in (before, after)]
    labels = {WORST if rows.loc[rows["eps"] > 0, "norm"].nunique() == 1 else f"{WORST}, {verdict.norm}" for rows in sides}
    key = (before.run.folder, after.run.folder, verdict.model, verdict.norm, after.setting.eps)
    if key not in tests:  # all defenses of a model are compared at once
        try:
            if len(labels) > 1:
                raise EscrimeError("only one of the two was attacked in several norms.")
            runs, model = (before.run, after.run), (verdict.model,)
            tests[key] = compare_read(runs, model, attacks=tuple(labels), epsilons=(after.setting.eps,))
        except EscrimeError as error:
            tests[key] = str(error)
    found = tests[key]
    if isinstance(found, str):
        return Step(before, after, None, found)
    case = (verdict.defense, verdict.threat, verdict.norm)
    pair = next((p for p in found.pairs if p.attack in labels and (p.defense, p.threat, p.norm) == case), None)
    reason = "" if pair else "the two runs share no image on which both were attacked so."
    return Step(before, after, pair, reason, tuple(found.warnings))
