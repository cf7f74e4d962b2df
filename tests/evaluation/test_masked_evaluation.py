"""A mask in an evaluation: attacks, checks and stronger attacks keep to it, and the numbers say what they are about."""

import pytest
import torch

import escrime
from escrime import FGSM, PGD, AutoAttack, EscrimeError
from escrime.evaluation import Effort

QUICK = Effort(images=12, steps=5, queries=40, draws=10, eot=2, doublings=1)


class TwoSides(torch.nn.Module):
    """The class is which of the two upper quarters is the brighter one; the lower half says nothing."""

    def forward(self, x):
        upper = x[:, :, : x.shape[2] // 2].mean((1, 2))
        half = upper.shape[1] // 2
        return 40 * torch.stack([upper[:, :half].mean(1), upper[:, half:].mean(1)], dim=1)


@pytest.fixture
def data():
    images = 0.4 + 0.2 * torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    images[::2, :, :3, :3] += 0.1
    images[1::2, :, :3, 3:] += 0.1
    return images, TwoSides()(images).argmax(1)


@pytest.mark.parametrize("top", [True, False])
def test_robust_accuracy_within_a_mask(data, top):
    """Where all that the model looks at is held back, nothing can fool it, and no check says that something should."""
    mask = torch.zeros(6, 6)
    mask[:3] = 1
    mask = mask if top else 1 - mask
    found = escrime.evaluate(TwoSides(), data, [FGSM(0.6), PGD(0.6, steps=5)], mask=mask, checks=QUICK, progress=False)
    attacked = found.records[found.records["eps"] > 0]
    assert attacked["verified"].all()
    assert attacked.groupby("attack")["correct"].mean().eq(0.0 if top else 1.0).all()
    ids = {finding.id: finding.severity for finding in found.checks}
    assert "full-success" not in ids and "no-full-success" not in ids
    assert not found.alarms


def test_what_strays_from_the_mask_is_not_counted(data):
    def careless(model, images, labels):
        return (images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)

    careless.eps, careless.norm = 1.0, "linf"
    mask = torch.zeros(6, 6)
    mask[:3] = 1
    records = escrime.evaluate(TwoSides(), data, careless, mask=mask, checks=False).records
    assert not records["verified"].any() and records["correct"].all()
    assert escrime.evaluate(TwoSides(), data, careless, checks=False).records["verified"].all()


def test_one_mask_for_all_images(data):
    with pytest.raises(EscrimeError, match=r"the mask has shape \(5, 6\)"):
        escrime.evaluate(TwoSides(), data, FGSM(0.1), mask=torch.ones(5, 6), checks=False)
    with pytest.raises(EscrimeError, match="one of each image, and an evaluation has one mask for all"):
        escrime.evaluate(TwoSides(), data, FGSM(0.1), mask=torch.ones(len(data[0]), 1, 6, 6), checks=False)
    one, other = (
        escrime.evaluate(TwoSides(), data, AutoAttack(0.05, queries=20, steps=5), mask=mask, checks=False).records
        for mask in (None, torch.ones(6, 6))
    )
    assert one.equals(other)
