"""Can it be believed? What the validity checks found: while models were attacked (checks.json), and in the records."""

from pathlib import Path

from ..errors import EscrimeError
from ..results.checks.records import record_findings
from ..results.findings import Finding, in_order, read_findings
from ..results.layout import check_inside
from ..results.names import defense_name
from ..results.reading import read_json
from ..results.records import read_records
from ..results.schema import StoredVerdicts
from ..results.threats import UNDEFENDED
from ..results.union import unions
from ..results.verdicts import Verdict
from .run import Run

CHECKS, VERDICT = "checks.json", "verdict.json"


def validity(run: Run) -> list[Finding]:
    """All findings: alarms, warnings, notes, then what passed; one per check and case, the most severe."""
    return in_order([*stored(run), *record_findings(run.records, manners=run.manifest.get("attacks"))])


def stored(run: Run) -> list[Finding]:
    """The findings that the experiment wrote down, [] where it wrote none.

    Raises:
        EscrimeError: When the file is not a list of findings.
    """
    path = run.folder / CHECKS
    return read_findings(path, run.norm) if path.exists() else []


def read_verdicts(folder: Path) -> list[dict]:
    """The verdicts that the experiment wrote down, as in results.verdicts.Verdict.

    Raises:
        EscrimeError: Where it wrote none, or where they are not about each model and defense of the records.
    """
    check_inside(folder)
    path = folder / VERDICT
    if not path.exists():
        raise EscrimeError(
            f"{folder} holds no {VERDICT}: its checks were switched off, or the run is not finished; run it again."
        )
    found = read_json(path, StoredVerdicts)
    records = read_records(folder)
    attacked = records[records["eps"] > 0]
    judged = {(verdict.get("model"), verdict.get("defense")) for verdict in found}
    for model, defense in attacked[["model", "defense"]].drop_duplicates().itertuples(index=False):
        if (model, defense) not in judged:
            raise EscrimeError(
                f"{path} says nothing about {model} with defense {defense}, which the records hold; run it again, "
                "and it will be written anew."
            )
    return found


def least_robust(folder: Path) -> float:
    """The lowest robust accuracy of a run: of its verdicts, and of what is left under several threats at once."""
    judged = read_verdicts(folder)
    several = len({verdict.get("norm") for verdict in judged}) > 1  # only newer files have what a union needs
    together = unions(read_records(folder), [Verdict(**verdict) for verdict in judged]) if several else []
    return min([verdict["accuracy"] for verdict in judged] + [union.accuracy for union in together])


def about(finding: Finding) -> str:
    """Whom a finding is about, named as on the rest of the page; "" for everyone."""
    parts = [finding.model, "" if finding.defense in ("", "none") else defense_name(finding.defense)]
    return ", ".join(part for part in (*parts, "" if finding.threat in UNDEFENDED else finding.threat) if part)
