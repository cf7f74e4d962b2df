"""A finding: what a validity check reports of an evaluation."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import EscrimeError
from .reading import REBUILT, fitting, read_json
from .schema import StoredExamination, StoredFindings

SEVERITIES = {
    "alarm": "the model misleads attacks, or the numbers are wrong: do not believe them as they are",
    "warning": "the evaluation is weaker than its claim: the remedy makes it stronger",
    "note": "good to know when reading the numbers",
    "passed": "looked at, nothing found",
}


MASK = "mask"  # the note that says which pixels an attack could change, so that verdicts do
BUDGET = "budget"  # what there was no time for
ONE_FOR_ALL = "one-for-all"  # the note that names attacks which make one perturbation for all images, so that verdicts do


@dataclass(frozen=True)
class Finding:
    """id: of the check. severity: of SEVERITIES. message: one line. evidence: the numbers behind it, plain JSON values.
    remedy: what to do about it, "" where nothing is needed. model, defense, threat, norm: what it is about, "" for all of them.
    answered: a stronger attack has been run because of it, and its number stands. exact: its cause was taken away without a
    rest, so that the number is that of the model and no mere upper bound."""

    id: str
    severity: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    model: str = ""
    defense: str = ""
    threat: str = ""
    answered: bool = False
    norm: str = ""
    exact: bool = False

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")

    @property
    def case(self) -> tuple[str, str, str, str]:
        """What it is about: model, defense, threat level, norm."""
        return self.model, self.defense, self.threat, self.norm

    def of(self, model: str, defense: str, threat: str, norm: str = "") -> "Finding":
        """The same finding, about this case."""
        return replace(self, model=model, defense=defense, threat=threat, norm=norm)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def reconciled(findings: list[Finding]) -> list[Finding]:
    """A case that was attacked by single steps is answered where an examination went on with stronger ones."""
    examined = {finding.case for finding in findings if finding.id == "attack-strength"}
    return [replace(f, answered=True) if f.id == "single-step-only" and f.case in examined else f for f in findings]


def from_rows(rows: list[dict[str, Any]], norm: str) -> list[Finding]:
    """Findings as JSON holds them. Those of earlier versions, which name no norm, are about `norm` ("" where that is unknown);
    a field that this version does not know is left out."""
    known = {field.name for field in fields(Finding)}
    own = [{name: value for name, value in row.items() if name in known} for row in rows]
    return [Finding(**{"norm": norm if row.get("model") else ""} | row) for row in own]


def read_findings(path: Path, norm: str) -> list[Finding]:
    """The findings of checks.json, or of an examination in checks/, whose file names its `norm`.

    Errors: EscrimeError that names the file and the field where it holds something else.
    """
    content = read_json(path)
    fitting(content, StoredFindings if isinstance(content, list) else StoredExamination, path)
    try:
        return from_rows(content if isinstance(content, list) else content["findings"], norm)
    except (TypeError, ValueError) as error:
        raise EscrimeError(f"{path} is no list of findings ({error}); {REBUILT}.") from error


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Alarms, warnings, notes, then what passed; one finding per check and case, the most severe. What is the same in every
    norm is reported once, about all of them."""
    order = list(SEVERITIES)
    unique: dict[tuple[str, ...], Finding] = {}
    for finding in sorted(reconciled(list(findings)), key=lambda finding: order.index(finding.severity)):
        unique.setdefault((finding.id, *finding.case), finding)
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for finding in unique.values():
        alike.setdefault((finding.id, *finding.case[:3], finding.severity, finding.message), []).append(finding)
    norms: dict[tuple[str, ...], set[str]] = {}
    for finding in unique.values():
        norms.setdefault(finding.case[:3], set()).add(finding.norm or "")
    return [one for same in alike.values() for one in _merged(same, norms[same[0].case[:3]] - {""})]


def _merged(same: list[Finding], norms: set[str]) -> list[Finding]:
    """Findings that differ in nothing but the norm: one about all where they are of all in which something was found of the
    case; what is true of some of several says nothing of the others."""
    everywhere = len(same) > 1 and {finding.norm for finding in same} - {""} >= norms
    return [replace(same[0], norm="")] if everywhere or any(not finding.norm for finding in same) else same
