"""The stage that doubts the numbers: each model examined, the stronger attack that it calls for, and the verdicts."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..evaluation import read_records
from ..evaluation.approach import Approaches
from ..evaluation.cases import Case, as_cases
from ..evaluation.checks import Finding, in_order, read_findings
from ..evaluation.checks.records import record_findings
from ..evaluation.checks.search import Stage
from ..evaluation.checks.verdict import verdicts
from ..evaluation.effort import Effort
from ..evaluation.evaluation import EXAMINATION, plan_checks, probe_in_time, stronger_cut
from ..evaluation.images import PART, Images
from ..evaluation.names import defense_name
from ..evaluation.records import STRONGER
from ..evaluation.stronger import Ground, grounds, of_case, stronger_parts
from ..evaluation.work import Passes, passes_of_check
from ..models import deadline
from ..models.deadline import OutOfTime
from ..norms import norm
from ..results.reading import fitting, read_json
from ..results.rows import read_rows
from ..results.schema import Examination
from .folder import RunFolder
from .progress import Display
from .run import Run


def expected_checks(run: Run, model: str) -> Iterator[tuple[str, Passes, int]]:
    """(what, network passes per image, images) of the examinations of `model` that are not done yet."""
    effort = run.experiment.checks.effort
    for case in as_cases(run.subjects(model, untrained=True)) if run.experiment.checks.enabled else []:
        if case.threat != "transfer" and not list((run.folder / "checks").glob(f"{'--'.join(case.name)}--*.json")):
            probe_passes, stronger = passes_of_check(case, effort)
            where = "" if case.subject.defense == "none" else f", {defense_name(case.subject.defense)}"
            yield f"probe{where}", probe_passes, min(effort.images, PART, len(run.test))
            yield f"stronger attack{where}", stronger, len(sample_of(run, case) or run.test)


def sample_of(run: Run, case: Case) -> frozenset | None:
    """The images for attacks that would cost too much on all, as for DGSM; None for all."""
    return run.samples.get((case.subject.defense, case.threat, "DGSM"))


def check(
    folder: RunFolder,
    display: Display,
    title: str,
    cases: list[Case],
    approaches: Approaches,
    source: Callable[[], Iterator[Images]],
    *,
    headline: float,
    effort: Effort,
    seed: int,
    draws: int = 1,
    sample: Callable[[Case], frozenset | None] = lambda case: None,
    among: frozenset[str] | None = None,
) -> None:
    """Examine every case that is not examined yet; findings in checks/, the stronger attack's rows in records/. A case that
    was examined when fewer of its images had been attacked, with less effort or in too little time, or that has lost rows
    since, is examined again. among: the ids (as text) of the images that are judged, by default all that have records.

    Under a deadline each case has its share of the time, and what it does not suffice for is noted with the findings.
    """
    places, records = folder / "checks", read_records(folder.path)
    records = records if among is None else records[records["image"].isin(among)]
    todo = {}
    for ground in grounds(cases, records, headline):
        path, basis = places / f"{'--'.join(ground.case.name)}--{ground.norm}.json", _basis(ground, records, effort)
        if not _complete(folder, path, basis):
            todo[path] = ground, basis
    if not todo:
        return
    places.mkdir(exist_ok=True)
    with folder.stage(title), display.meter(title) as meter, deadline.listening(meter):
        plan_checks([ground for ground, _ in todo.values()], records, effort, meter)
        for count, (path, (ground, basis)) in enumerate(todo.items()):
            left = deadline.time_left()
            with deadline.deadline(None if left is None else left / (len(todo) - count)) as limit:
                findings, stages = probe_in_time(ground, approaches, records, effort, seed, meter)
                if limit is not None and EXAMINATION in limit.cut and (before := _read(path)) is not None:
                    # An earlier one came farther: it stands, but for what it did not look at.
                    folder.write_json(f"checks/{path.name}", before | {"cut": limit.cut})
                    continue
                own = _Written(folder, ground, _names(stages))
                own.forget_others(path)
                work = stronger_parts(
                    ground,
                    stages,
                    approaches,
                    source,
                    records,
                    seed=seed,
                    draws=draws,
                    finished=own.finished,
                    done=own.done,
                    begun=meter.begin,
                    epsilons=[ground.eps],
                    sample=sample(ground.case),
                )
                try:
                    for part, frame in work:
                        folder.write_records(part.key, frame)
                except OutOfTime:
                    findings = stronger_cut(limit, findings, own.images(), ground, records)
            # Last, for what it stands for is complete when it exists.
            found = {
                **basis,
                "stages": own.stages,
                "parts": own.keys(),
                "findings": [finding.as_dict() for finding in findings],
            }
            found |= {"cut": limit.cut} if limit is not None and limit.cut else {}
            folder.write_json(f"checks/{path.name}", found)


def _names(stages: list[Stage]) -> list[str]:
    """What tells the stages of one examination from those of another."""
    return [f"{stage.name}: {stage.attack!r}" for stage in stages]


class _Written:
    """The rows of the stronger attack on one case that lie in the folder, whole parts and pieces of parts."""

    def __init__(self, folder: RunFolder, ground: Ground, stages: list[str]):
        self.folder, self.stages = folder, stages
        self.prefix = "--".join([*ground.case.name, STRONGER + norm(ground.norm).suffix])

    def finished(self, key: str) -> bool:
        return _rows(self.folder, key).exists()

    def done(self, key: str) -> frozenset[str]:
        return images_in(self.folder, f"{key}-")

    def images(self) -> int:
        return len(images_in(self.folder, f"{self.prefix}--"))

    def keys(self) -> list[str]:
        return sorted(path.stem for path in parts_in(self.folder, f"{self.prefix}--"))

    def forget_others(self, path: Path) -> None:
        """Delete the rows of an earlier examination, which lies at `path`, that called for other attacks; then `path` itself,
        so that what is written from here on is known to be of this one."""
        old = _read(path)
        if old is not None and old.get("stages", self.stages) != self.stages:
            for key in self.keys():
                _rows(self.folder, key).unlink()
            path.unlink()


def parts_in(folder: RunFolder, prefix: str) -> list[Path]:
    """The parts of a folder whose keys begin so."""
    return [path for path in (folder / "records").glob("*.parquet") if path.name.startswith(prefix)]


def images_in(folder: RunFolder, prefix: str) -> frozenset[str]:
    """The ids of the images in those parts."""
    return frozenset(name for path in parts_in(folder, prefix) for name in read_rows(path, ["image"])["image"].to_pylist())


def _rows(folder: RunFolder, key: str) -> Path:
    return folder / "records" / f"{key}.parquet"


def _read(path: Path) -> dict | None:
    """What an examination wrote; None where there is none, or one of an escrime that did not say what it stands on."""
    old = read_json(path) if path.exists() else None
    return fitting(old, Examination, path) if isinstance(old, dict) else None


def _basis(ground: Ground, records: pd.DataFrame, effort: Effort) -> dict:
    """What an examination stands on: how many images, and how hard it looks."""
    return {"images": int(of_case(records, ground.case)["image"].nunique()), "effort": asdict(effort)}


def _complete(folder: RunFolder, path: Path, basis: dict) -> bool:
    """Whether the case was examined on this basis, and all that the stronger attack wrote because of it is there."""
    if not path.exists():
        return False
    old = read_json(path)
    if isinstance(old, list):  # of an escrime that did not say
        return True
    effort = fitting(old, Examination, path)["effort"]
    looked = all(effort.get(name, 0) >= wanted for name, wanted in basis["effort"].items()) and not old.get("cut")
    return old["images"] == basis["images"] and looked and all(_rows(folder, key).exists() for key in old["parts"])


def cut_short(folder: RunFolder) -> dict[tuple, list[str]]:
    """Name of a case → what its examination left open when the time was up."""
    found: dict[tuple, list[str]] = {}
    for path in sorted((folder / "checks").glob("*.json")):
        if (old := _read(path)) is not None and old.get("cut"):
            name = tuple(path.stem.split("--")[:3])
            found[name] = list(dict.fromkeys([*found.get(name, ()), *old["cut"]]))
    return found


def finish_checks(folder: RunFolder, about_all: list[Finding], headline: float) -> None:
    """checks.json and verdict.json, from the examinations, what was found `about_all` of it, and the records."""
    examined = sorted((folder / "checks").glob("*.json"))
    found = [finding for path in examined for finding in read_findings(path, path.stem.rpartition("--")[2])]
    records = read_records(folder.path)
    findings = in_order([*about_all, *found, *record_findings(records, folder.failures)])
    folder.write_json("checks.json", [finding.as_dict() for finding in findings])
    folder.write_json("verdict.json", [v.as_dict() for v in verdicts(records, findings, headline)])
