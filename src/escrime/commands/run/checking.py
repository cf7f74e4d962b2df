"""The stage that checks the numbers: what it costs, on which images, and the verdicts that it ends in."""

from collections.abc import Iterator, Mapping

from ...evaluation.cost import Passes, passes_of_check
from ...evaluation.images import PART
from ...evaluation.pipeline import all_findings
from ...evaluation.subjects import Case, as_cases
from ...results.findings import Finding
from ...results.keys import parts_of
from ...results.names import defense_name
from ...results.threats import TRANSFER
from ...results.verdicts import verdicts
from ..shared.folder import RunFolder
from ..shared.store import FolderStore
from .context import ExperimentRun


def expected_checks(run: ExperimentRun, model: str) -> Iterator[tuple[str, Passes, int]]:
    """(what, network passes per image, images) of the examinations of `model` that are not done yet."""
    effort = run.experiment.checks.effort
    for case in as_cases(run.subjects(model, untrained=True)) if run.experiment.checks.enabled else []:
        if case.threat != TRANSFER and not list((run.folder / "checks").glob(f"{parts_of(case.name)}*.json")):
            probe_passes, stronger = passes_of_check(case, effort)
            where = "" if case.subject.defense == "none" else f", {defense_name(case.subject.defense)}"
            yield f"probe{where}", probe_passes, min(effort.images, PART, len(run.test))
            yield f"stronger attack{where}", stronger, len(sample_of(run, case) or run.test)


def sample_of(run: ExperimentRun, case: Case) -> frozenset | None:
    """The images for attacks that would cost too much on all, the fewest that an attack of many steps takes; None for all."""
    many = [label for label, attack in run.attacks()[0].items() if attack.manner != "single"]
    found = [run.samples.get((case.subject.defense, case.threat, label)) for label in many]
    return min((sample for sample in found if sample is not None), key=len, default=None)


def finish_checks(folder: RunFolder, about_all: list[Finding], headlines: Mapping[str, float]) -> None:
    """checks.json and verdict.json, from the examinations, what was found `about_all` of it, and the records."""
    store = FolderStore(folder)
    records = store.records()
    findings = all_findings(store, records, about_all, folder.manifest.get("attacks"))
    folder.write_json("checks.json", [finding.as_dict() for finding in findings])
    folder.write_json("verdict.json", [v.as_dict() for v in verdicts(records, findings, headlines)])
