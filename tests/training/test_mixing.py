"""Mixtures of images: what is shown, and how the label is shared."""

import numpy as np
import pytest
import torch
from torch import nn

from escrime.errors import EscrimeError
from escrime.training import Context, objective

COUNT, CLASSES = 400, 4


class Seen(nn.Module):
    """Keeps what it is shown; its logits depend on nothing, so that the loss tells the labels."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64))

    def forward(self, images):
        self.images = images
        return self.logits.expand(len(images), -1)


@pytest.fixture
def batch():
    """Image n is of one color, n; labels 0, 1, 2, 3, 0, …"""
    images = torch.arange(COUNT, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 3, 20, 30)
    return images, torch.arange(COUNT) % CLASSES, Context.of([str(n) for n in range(COUNT)], classes=CLASSES)


def shares(name, batch, **settings):
    """(share of each pixel that is its own image's, (N, 20, 30); the loss)."""
    images, labels, context = batch
    model = Seen()
    loss = objective(name, **settings)(model, images, labels, context)
    assert model.images.shape == images.shape and (model.images[:, 0] == model.images[:, 2]).all()
    own, other = images[:, 0], images.roll(-1, 0)[:, 0]
    assert np.isnan(context.tally.accuracies()).all(), "no clean image was seen"
    return (model.images[:, 0] - other) / (own - other), loss


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_are_shared_as_the_images_are(name, batch):
    own, loss = shares(name, batch, alpha=0.7)
    share, labels = own.mean((1, 2)), batch[1]
    errors = -torch.log_softmax(torch.arange(4.0, dtype=torch.float64), 0)
    expected = (share * errors[labels] + (1 - share) * errors[labels.roll(-1)]).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_mixup_blends_by_a_beta_variable(batch):
    own, _ = shares("mixup", batch, alpha=0.4)
    assert (own - own[:, :1, :1]).abs().max() < 1e-9
    share = own[:, 0, 0]
    assert abs(share.mean() - 0.5) < 0.06 and abs(share.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.02  # of Beta(α, α)


def test_cutmix_shows_a_window_of_the_other_image(batch):
    own, _ = shares("cutmix", batch)
    assert ((own - own.round()).abs() < 1e-9).all()
    other = own.round() == 0
    for mask in other:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None])
        assert all(line.diff().abs().sum() <= 2 for line in (rows.int(), columns.int())), "one window"
    assert other.float().mean((1, 2)).std() > 0.15
    places = other.float().mean(0)
    assert places.min() > 0.1, "it reaches everywhere"


def test_probability(batch):
    own, _ = shares("cutmix", batch, probability=0.25)
    assert 0.1 < (own.round() == 0).any((1, 2)).float().mean() < 0.3
    own, loss = shares("mixup", batch, probability=0)
    plain = objective("clean")(Seen(), *batch[:2], Context.of([str(n) for n in range(COUNT)], classes=CLASSES))
    assert (own == 1).all() and loss.item() == pytest.approx(plain.item(), rel=1e-9)


def test_bad_settings():
    for settings, words in (({"alpha": 0}, "alpha = 0"), ({"probability": 1.5}, "probability = 1.5")):
        with pytest.raises(EscrimeError, match=words):
            objective("mixup", **settings)
