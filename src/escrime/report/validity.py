"""Can it be believed? What the validity checks found: while models were attacked (checks.json), and in the records."""

from pathlib import Path

from ..errors import EscrimeError
from ..evaluation.checks import Finding, from_rows, in_order
from ..evaluation.checks.records import record_findings
from ..evaluation.names import defense_name
from ..evaluation.records import UNDEFENDED
from .run import Run, read_json

CHECKS, VERDICT = "checks.json", "verdict.json"


def validity(run: Run) -> list[Finding]:
    """All findings: alarms, warnings, notes, then what passed; one per check and case, the most severe."""
    return in_order([*stored(run), *record_findings(run.records)])


def stored(run: Run) -> list[Finding]:
    """The findings that the experiment wrote down, [] where it wrote none.

    Errors: EscrimeError when the file is not a list of findings.
    """
    path = run.folder / CHECKS
    if not path.exists():
        return []
    try:
        return from_rows(read_json(path), run.norm)
    except EscrimeError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise EscrimeError(
            f"{path} is no list of findings ({error}); delete it and run the experiment again: it will be rebuilt."
        ) from error


def read_verdicts(folder: Path) -> list[dict]:
    """The verdicts that the experiment wrote down, as in evaluation.checks.verdict.Verdict.

    Errors: EscrimeError where it wrote none.
    """
    path = folder / VERDICT
    if not path.exists():
        raise EscrimeError(
            f"{folder} holds no {VERDICT}: its checks were switched off, or the run is not finished; run it again."
        )
    return read_json(path)


def about(finding: Finding) -> str:
    """Whom a finding is about, named as on the rest of the page; "" for everyone."""
    parts = [finding.model, "" if finding.defense in ("", "none") else defense_name(finding.defense)]
    return ", ".join(part for part in (*parts, "" if finding.threat in UNDEFENDED else finding.threat) if part)
