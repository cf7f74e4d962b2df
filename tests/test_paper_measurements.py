"""The measurements behind the paper's page that are made of one network: FGSM's hump, and what prediction averaging does."""

import pytest
import torch
from torch import nn

import escrime
from benchmarks.paper import averaging, hump
from escrime.data.imageset import ImageSet
from escrime.randomness import row_keys


class Overshot(nn.Module):
    """Right where the mean of the image is far from 0.5 + 0.04·direction: a step of 0.05 fools it, a longer one no more."""

    def forward(self, images):
        wrong = 1 - (images.flatten(1).mean(1) - 0.55).abs() / 0.02
        return torch.stack([torch.zeros_like(wrong), wrong], 1)


def gray(n, value=0.5):
    images = torch.full((n, 3, 4, 4), round(value * 255)).to(torch.uint8).numpy()
    return ImageSet("gray", images, torch.zeros(n, dtype=torch.long).numpy(), [f"g{i}" for i in range(n)], ["right", "wrong"])


def test_a_step_that_lands_beyond_the_wrong_region_is_told_from_one_that_does_not():
    found = hump.measure(Overshot(), gray(4))
    right = [share for share, *_ in found["right"]["true label"]]
    at = {eps: right[place] for place, eps in enumerate(found["eps"])}
    assert at[0.0] == 1 and at[0.05] == 0 and at[0.1] == 1
    back = dict(zip(found["eps"], [share for share, *_ in found["wrong before, right again"]], strict=True))
    assert back[0.1] == 1 and back[0.05] == 0
    assert found["right"]["worst up to ε"][-1][0] == 0


def test_the_average_of_the_unmixed_copies_is_prediction_averaging():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    x = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    keys = [("image", i) for i in range(6)]
    for average in averaging.AVERAGES:
        ppa = escrime.PredictionAveraging(network, 0.3, 4, average)
        with torch.no_grad(), row_keys(keys):
            expected = ppa(x)
        with torch.no_grad(), row_keys(keys):
            logits = averaging.Copies(network, 0.3, 4).copied_logits(x)
        assert torch.equal(averaging.averaged(logits, average), expected)


def test_images_that_were_the_target_before_do_not_count_as_moved():
    found = averaging.moved(torch.tensor([True, True, False, False]), torch.tensor([True, False, False, False]))
    assert found["moved"][0] == 0.25
    assert found["at most 1 of 50"] == pytest.approx(0.75**50 + 50 * 0.25 * 0.75**49)
