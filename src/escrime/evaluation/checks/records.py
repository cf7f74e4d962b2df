"""What the records say about their own soundness: every check that needs nothing else."""

import pandas as pd

from .consistency import accuracy_rises, iterated_weaker, no_full_success, overfitting, targeted_disagrees
from .counting import few_images, imagenet_leak, lost_in_8_bits, unverified
from .coverage import only_transfer, single_step_only, transfer_stronger
from .curves import read_curves
from .finding import Finding

CHECKS = [iterated_weaker, accuracy_rises, no_full_success, transfer_stronger, only_transfer, overfitting, targeted_disagrees]
CHECKS += [unverified, lost_in_8_bits, single_step_only]


def record_findings(records: pd.DataFrame) -> list[Finding]:
    """The findings of all checks that read records alone, one per check and case."""
    curves = read_curves(records)
    if not curves:
        return []
    return [finding for check in CHECKS for finding in check(curves)] + few_images(records) + imagenet_leak(records)
