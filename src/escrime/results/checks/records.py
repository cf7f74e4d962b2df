"""What the records say about their own soundness: every check that needs nothing else."""

import pandas as pd

from ..findings import Finding
from .consistency import accuracy_rises, iterated_weaker, no_full_success, overfitting, targeted_disagrees
from .counting import attack_failed, few_images, imagenet_leak, lost_in_8_bits, non_finite, unverified
from .coverage import only_transfer, single_step_only, transfer_stronger
from .curves import read_curves

CHECKS = [iterated_weaker, accuracy_rises, no_full_success, transfer_stronger, only_transfer, overfitting, targeted_disagrees]
CHECKS += [unverified, lost_in_8_bits, single_step_only]


def record_findings(
    records: pd.DataFrame, reasons: dict[str, str] | None = None, manners: dict[str, str] | None = None
) -> list[Finding]:
    """The findings of all checks that read records alone, one per check and case. What rows do not tell: reasons, why attacks
    failed, by MODEL--DEFENSE--THREAT--ATTACK; manners, what each attack is, by its label (see Attack.manner)."""
    curves = read_curves(records, manners)
    if not curves:
        return []
    found = [finding for check in CHECKS for finding in check(curves)] + attack_failed(curves, reasons or {})
    return found + non_finite(records) + few_images(records) + imagenet_leak(records)
