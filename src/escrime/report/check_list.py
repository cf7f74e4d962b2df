"""What the formats of CI systems have in common: a run's checks, verdicts and gate, each as one thing that passes or fails."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..norms import norm
from ..results.findings import Finding
from ..results.names import defended
from ..results.statistics import share_text
from ..results.verdicts import objects
from .validity import about


@dataclass(frozen=True)
class ListedCheck:
    """A finding: of which check, about whom ("" for all), how severe, and whether it forbids to believe a number."""

    id: str
    about: str
    severity: str
    message: str
    remedy: str
    objects: bool


def checked(document: dict[str, Any]) -> list[ListedCheck]:
    """The findings of a run's document, in its order."""
    found = [Finding(**row) for row in document["checks"]]
    return [
        ListedCheck(
            one.id,
            about(one) + (norm(one.norm).in_words if one.norm else ""),
            one.severity,
            one.message,
            one.remedy,
            objects(one),
        )
        for one in found
    ]


def verdict_name(verdict: dict[str, Any]) -> str:
    """Whom a verdict is about."""
    subset = f", {verdict['subset']} images" if verdict["subset"] else ""
    return f"{defended(verdict['model'], verdict['defense'])}{norm(verdict['norm']).in_words}{subset}"


def gated(document: dict[str, Any], fail_under: float | None) -> Iterator[tuple[str, str, bool]]:
    """(whom it is about, a sentence, whether it fails) of every verdict and union of norms, where there is a threshold."""
    if fail_under is None:
        return
    for verdict in document["verdicts"]:
        failed = verdict["accuracy"] < fail_under
        at = f"at {norm(verdict['norm']).said(verdict['eps'])}"
        yield verdict_name(verdict), _gate(verdict, at, fail_under), failed
    for union in document["unions"]:
        under = f"under any of {len(union['rows'])} threats"
        who = f"{defended(union['model'], union['defense'])}, every threat"
        yield who, _gate(union, under, fail_under), union["accuracy"] < fail_under


def _gate(row: dict[str, Any], where: str, fail_under: float) -> str:
    below = "below" if row["accuracy"] < fail_under else "not below"
    return f"robust accuracy {share_text(row['accuracy'])} {where} (n = {row['n']}) is {below} {share_text(fail_under)}"
