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
from ..evaluation.checks.verdict import verdicts
from ..evaluation.effort import Effort
from ..evaluation.evaluation import probe
from ..evaluation.images import PART, Images
from ..evaluation.names import defense_name
from ..evaluation.stronger import Ground, grounds, of_case, stronger_parts
from ..evaluation.work import Passes, passes_of_check
from ..results.reading import fitting, read_json
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
) -> None:
    """Examine every case that is not examined yet; findings in checks/, the stronger attack's rows in records/. A case that
    was examined when fewer of its images had been attacked, or with less effort, or has lost rows since, is examined again."""
    places, records = folder / "checks", read_records(folder.path)
    todo = {}
    for ground in grounds(cases, records, headline):
        path, basis = places / f"{'--'.join(ground.case.name)}--{ground.norm}.json", _basis(ground, records, effort)
        if not _complete(folder, path, basis):
            todo[path] = ground, basis
    if not todo:
        return
    places.mkdir(exist_ok=True)
    with folder.stage(title), display.bar(title, len(todo)) as advance:
        for path, (ground, basis) in todo.items():
            findings, stages = probe(ground, approaches, records, effort, seed)
            parts = []
            for part, frame in stronger_parts(
                ground,
                stages,
                approaches,
                source,
                records,
                seed=seed,
                draws=draws,
                finished=lambda key, parts=parts: parts.append(key) or _rows(folder, key).exists(),
                epsilons=[ground.eps],
                sample=sample(ground.case),
            ):
                folder.write_records(part.key, frame)
            # Last, for what it stands for is complete when it exists.
            found = {**basis, "parts": parts, "findings": [finding.as_dict() for finding in findings]}
            folder.write_json(f"checks/{path.name}", found)
            advance(note=defense_name(ground.case.subject.defense))


def _rows(folder: RunFolder, key: str) -> Path:
    return folder / "records" / f"{key}.parquet"


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
    looked = all(effort.get(name, 0) >= wanted for name, wanted in basis["effort"].items())  # a shorter budget loses nothing
    return old["images"] == basis["images"] and looked and all(_rows(folder, key).exists() for key in old["parts"])


def finish_checks(folder: RunFolder, about_data: list[Finding], headline: float) -> None:
    """checks.json and verdict.json, from the examinations, what was found `about_data`, and the records."""
    examined = sorted((folder / "checks").glob("*.json"))
    found = [finding for path in examined for finding in read_findings(path, path.stem.rpartition("--")[2])]
    records = read_records(folder.path)
    findings = in_order([*about_data, *found, *record_findings(records)])
    folder.write_json("checks.json", [finding.as_dict() for finding in findings])
    folder.write_json("verdict.json", [v.as_dict() for v in verdicts(records, findings, headline)])
