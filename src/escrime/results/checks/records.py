"""What the records show of their own soundness: every check that needs nothing else."""

import pandas as pd

from ..findings import Finding
from .curves import read_curves
from .registry import record_check


def record_findings(
    records: pd.DataFrame,
    reasons: dict[str, str] | None = None,
    manners: dict[str, str] | None = None,
    masked: bool = False,
) -> list[Finding]:
    """The findings of all checks that read records alone, one per check and case. What rows do not hold: reasons, why attacks
    failed, by MODEL--DEFENSE--THREAT--ATTACK; manners, what each attack is, by its label (see `manner_of`);
    masked, whether only some pixels could change."""
    curves = read_curves(records, manners, masked)
    return record_check.findings(records=records, curves=curves, reasons=reasons or {}) if curves else []
