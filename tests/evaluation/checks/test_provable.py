"""The note on what noise proves: numbers of the closed form, and nothing about models without such noise."""

import pytest
import torch

from escrime import MajorityVote, PredictionAveraging
from escrime.evaluation.checks.provable import certificate_findings


@pytest.mark.parametrize("kind", (MajorityVote, PredictionAveraging))
def test_it_proves_nothing_in_linf_at_image_size(linear, kind):
    (finding,) = certificate_findings(kind(linear, 0.3, 8), torch.zeros(1, 3, 224, 224))
    assert finding.severity == "note" and "proves nothing" in finding.message
    # All 1000 draws agree: p = 0.001^(1/1000); the certificate is 2 · 0.3 · (p − 1/2) in l1.
    assert finding.evidence["l1 radius"] == pytest.approx(0.6 * (0.001 ** (1 / 1000) - 0.5))
    assert finding.evidence["l_inf radius"] * 255 < 0.001


def test_small_images_may_have_a_little(linear):
    (finding,) = certificate_findings(MajorityVote(linear, 1.0, 8), torch.zeros(1, 1, 2, 2))
    assert "proves nothing" not in finding.message


def test_other_models_have_no_such_certificate(linear):
    assert certificate_findings(linear, torch.zeros(1, 3, 4, 4)) == []
    assert certificate_findings(PredictionAveraging(linear, 0.3, 1), torch.zeros(1, 3, 4, 4)) == []
