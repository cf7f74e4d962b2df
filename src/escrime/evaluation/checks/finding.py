"""A finding: what a validity check has to say about an evaluation."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

SEVERITIES = {
    "alarm": "the model misleads attacks, or the numbers are wrong: do not believe them as they are",
    "warning": "the evaluation is weaker than its claim: the remedy makes it stronger",
    "note": "good to know when reading the numbers",
    "passed": "looked at, nothing found",
}


@dataclass(frozen=True)
class Finding:
    """id: of the check. severity: of SEVERITIES. message: one line. evidence: the numbers behind it, plain JSON values.
    remedy: what to do about it, "" where nothing is needed. model, defense, threat, norm: what it is about, "" for all of them.
    answered: a stronger attack has been run because of it, and its number stands."""

    id: str
    severity: str
    message: str
    evidence: dict = field(default_factory=dict)
    remedy: str = ""
    model: str = ""
    defense: str = ""
    threat: str = ""
    answered: bool = False
    norm: str = ""

    def __post_init__(self):
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")

    @property
    def case(self) -> tuple[str, str, str, str]:
        """What it is about: model, defense, threat level, norm."""
        return self.model, self.defense, self.threat, self.norm

    def of(self, model: str, defense: str, threat: str, norm: str = "") -> "Finding":
        """The same finding, about this case."""
        return replace(self, model=model, defense=defense, threat=threat, norm=norm)

    def as_dict(self) -> dict:
        return asdict(self)


def reconciled(findings: list[Finding]) -> list[Finding]:
    """A case that was attacked by single steps only has its answer where an examination went on with stronger ones."""
    examined = {finding.case for finding in findings if finding.id == "attack-strength"}
    return [replace(f, answered=True) if f.id == "single-step-only" and f.case in examined else f for f in findings]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Alarms, warnings, notes, then what passed; one finding per check and case, the most severe."""
    order, unique = list(SEVERITIES), {}
    for finding in sorted(reconciled(list(findings)), key=lambda finding: order.index(finding.severity)):
        unique.setdefault((finding.id, *finding.case), finding)
    return list(unique.values())
