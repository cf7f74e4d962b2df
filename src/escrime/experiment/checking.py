"""The stage that doubts the numbers: each model examined, the stronger attack that it calls for, and the verdicts."""

import json
from collections.abc import Callable, Iterator

from ..evaluation import read_records
from ..evaluation.approach import Approaches
from ..evaluation.cases import Case, as_cases
from ..evaluation.checks import Finding, in_order
from ..evaluation.checks.records import record_findings
from ..evaluation.checks.verdict import verdicts
from ..evaluation.effort import Effort
from ..evaluation.evaluation import probe
from ..evaluation.images import PART, Images
from ..evaluation.names import defense_name
from ..evaluation.stronger import grounds, stronger_parts
from ..evaluation.work import Passes, passes_of_check
from ..files import write_whole
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
    """Examine every case that is not examined yet; findings in checks/, the stronger attack's rows in records/."""
    places, records = folder / "checks", read_records(folder.path)
    todo = {
        places / f"{'--'.join(ground.case.name)}--{ground.norm}.json": ground for ground in grounds(cases, records, headline)
    }
    todo = {path: ground for path, ground in todo.items() if not path.exists()}
    if not todo:
        return
    places.mkdir(exist_ok=True)
    with folder.stage(title), display.bar(title, len(todo)) as advance:
        for path, ground in todo.items():
            findings, stages = probe(ground, approaches, records, effort, seed)
            for part, frame in stronger_parts(
                ground,
                stages,
                approaches,
                source,
                records,
                seed=seed,
                draws=draws,
                finished=lambda key: (folder / "records" / f"{key}.parquet").exists(),
                epsilons=[ground.eps],
                sample=sample(ground.case),
            ):
                folder.write_records(part.key, frame)
            # Last, for what it stands for is complete when it exists.
            write_whole(path, json.dumps([finding.as_dict() for finding in findings], indent=2, ensure_ascii=False) + "\n")
            advance(note=defense_name(ground.case.subject.defense))


def finish_checks(folder: RunFolder, about_data: list[Finding], headline: float) -> None:
    """checks.json and verdict.json, from the examinations, what was found `about_data`, and the records."""
    found = [Finding(**row) for path in sorted((folder / "checks").glob("*.json")) for row in json.loads(path.read_text())]
    records = read_records(folder.path)
    findings = in_order([*about_data, *found, *record_findings(records)])
    folder.write_json("checks.json", [finding.as_dict() for finding in findings])
    folder.write_json("verdict.json", [v.as_dict() for v in verdicts(records, findings, headline)])
