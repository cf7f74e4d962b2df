"""The stage that doubts the numbers: each model examined, the stronger attack that it calls for, and the verdicts."""

import json
from collections.abc import Callable, Iterator

from ..evaluation import read_records
from ..evaluation.approach import Approaches
from ..evaluation.cases import Case, as_cases
from ..evaluation.checks import Finding, in_order
from ..evaluation.checks.data import data_findings
from ..evaluation.checks.records import record_findings
from ..evaluation.checks.verdict import verdicts
from ..evaluation.evaluation import probe
from ..evaluation.images import PART, Images
from ..evaluation.records import write_part
from ..evaluation.stronger import grounds, stronger_parts
from ..evaluation.work import Passes, passes_of_check
from ..files import write_whole
from .run import Run


def expected_checks(run: Run, model: str) -> Iterator[tuple[str, Passes, int]]:
    """(what, network passes per image, images) of the examinations of `model` that are not done yet."""
    effort = run.experiment.checks.effort
    for case in as_cases(run.subjects(model, untrained=True)) if run.experiment.checks.enabled else []:
        if case.threat != "transfer" and not list((run.folder / "checks").glob(f"{'--'.join(case.name)}--*.json")):
            probe_passes, stronger = passes_of_check(case, effort)
            where = "" if case.subject.defense == "none" else f", {case.subject.defense}"
            yield f"probe{where}", probe_passes, min(effort.images, PART, len(run.test))
            yield f"stronger attack{where}", stronger, len(_sample(run, case) or run.test)


def _sample(run: Run, case: Case) -> frozenset | None:
    """The images for attacks that would cost too much on all, as for DGSM; None for all."""
    return run.samples.get((case.subject.defense, case.threat, "DGSM"))


def check(run: Run, model: str, cases: list[Case], approaches: Approaches, source: Callable[[], Iterator[Images]]) -> None:
    """Examine every case of `model` that is not examined yet; findings in checks/, the stronger attack's rows in records/."""
    folder, records = run.folder / "checks", read_records(run.folder.path)
    seed, ppa = run.experiment.seed, run.experiment.defenses.ppa
    places = {
        folder / f"{'--'.join(ground.case.name)}--{ground.norm}.json": ground
        for ground in grounds(cases, records, run.experiment.headline)
    }
    todo = {path: ground for path, ground in places.items() if not path.exists()}
    if not todo:
        return
    folder.mkdir(exist_ok=True)
    title = f"Check {model}"
    with run.folder.stage(title), run.display.bar(title, len(todo)) as advance:
        for path, ground in todo.items():
            findings, stages = probe(ground, approaches, records, run.experiment.checks.effort, seed)
            for part, frame in stronger_parts(
                ground,
                stages,
                approaches,
                source,
                records,
                seed=seed,
                draws=ppa.draws if ppa else 1,
                finished=lambda key: (run.folder / "records" / f"{key}.parquet").exists(),
                epsilons=[ground.eps],
                sample=_sample(run, ground.case),
            ):
                write_part(frame, run.folder / "records" / f"{part.key}.parquet")
            # Last, for what it stands for is complete when it exists.
            write_whole(path, json.dumps([finding.as_dict() for finding in findings], indent=2, ensure_ascii=False) + "\n")
            advance(note=ground.case.subject.defense)


def finish_checks(run: Run) -> None:
    """checks.json and verdict.json, from the examinations and the records."""
    found = [Finding(**row) for path in sorted((run.folder / "checks").glob("*.json")) for row in json.loads(path.read_text())]
    records = read_records(run.folder.path)
    findings = in_order([*data_findings(run.test, run.splits.train), *found, *record_findings(records)])
    run.folder.write_json("checks.json", [finding.as_dict() for finding in findings])
    run.folder.write_json("verdict.json", [v.as_dict() for v in verdicts(records, findings, run.experiment.headline)])
