"""The few images that the checks look at: of every class, however the set is sorted."""

import numpy as np
import torch
from torch import nn

from escrime import evaluate
from escrime.data.sampling import evenly
from escrime.evaluation.images import Source


class Bright(nn.Module):
    """Class 1 where the mean is above a half."""

    def forward(self, images):
        light = 20 * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([-light, light], 1)


def sorted_set(light=(0.9, 0.52), counts=(140, 60)):
    """`counts` images of each class, one class after the other, as bright as `light` says."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.rand(len(labels), 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    return torch.tensor(light)[labels][:, None, None, None] + 0.01 * noise, labels


def test_a_few_images_are_of_every_class():
    data = sorted_set()
    source = Source(data, torch.device("cpu"))
    few = source.few(20, seed=3)
    assert few.labels.bincount().tolist() == [10, 10] and list(few.ids) == sorted(few.ids)
    assert torch.equal(few.pixels, data[0][list(few.ids)])
    whole = evenly(20, 3, [str(i) for i in range(200)], data[1].numpy(), range(2))
    assert list(few.ids) == whole.tolist()
    assert source.few(20, seed=4).ids != few.ids
    assert len(source.few(500, seed=3).ids) == 200
    assert set(source.few(4, seed=0, among={"0", "199", "1"}).ids) == {0, 1, 199} and not source.few(4, 0, set()).ids


def test_a_weak_attack_is_noticed_where_the_first_class_tells_nothing():
    """140 images are wrong from the start, and come first; the 60 others stand only because nothing attacked them."""
    result = evaluate(Bright(), sorted_set(), {"idle": lambda model, images, labels: images}, epsilons=[0.1])
    (found,) = [finding for finding in result.checks if finding.id == "attack-strength"]
    assert found.severity == "warning" and found.evidence["before"] == 0.5 and found.evidence["after"] == 0.0
    stronger = result.records[result.records["attack"] == "stronger"]
    assert len(stronger) == 200 and stronger["correct"].sum() == 0
    assert np.isclose(result.records[result.records["attack"] == "idle"]["correct"].mean(), 0.3)
