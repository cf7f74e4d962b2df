"""Answers that depend on the images beside it: found in clean and in perturbed batches, named, and judged alone."""

import pytest
import torch
from torch import nn

import escrime
from escrime import FGSM, PGD, Effort, evaluate
from escrime.evaluation.checks.batch import Alone, batch_effect, batch_finding


@pytest.fixture(scope="module")
def linear():
    generator = torch.Generator().manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4).requires_grad_(False)), torch.rand(60, 3, 4, 4, generator=generator)


class Defended(nn.Module):
    """The network where `applies(images)` (N,) says no; elsewhere the answer of a coarse version of the image."""

    def __init__(self, network, applies):
        super().__init__()
        self.network, self.applies = network, applies

    def forward(self, x):
        logits = self.network(x)
        return torch.where(self.applies(x)[:, None], self.network((x * 3).round() / 3).detach() + 0 * logits, logits)


def everywhere(x, value):
    return torch.full((len(x),), bool(value))


def alike(x):
    distances = torch.cdist(x.flatten(1)[None], x.flatten(1)[None], p=float("inf"))[0] + torch.eye(len(x))
    return distances.amin(1) < 0.05


def off_the_grid(x):
    return ((x * 255 - (x * 255).round()).abs().flatten(1).amax(1) > 0.01) & (len(x) > 20)


APPLIES = {
    "number of images in the batch (from 24 on)": lambda x: everywhere(x, len(x) >= 24),
    "resemble": alike,
    "place": lambda x: torch.arange(len(x)) % 2 == 1,
}


class Less(nn.Module):
    """The images less half of one that is made of the batch."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return x - 0.5 * self.part(x)


LESS = {"the first image": lambda x: x[:1], "such as their mean": lambda x: x.mean(0, keepdim=True)}


@pytest.mark.parametrize("cause", [*APPLIES, *LESS])
def test_what_in_the_batch_is_named(linear, cause):
    network, images = linear
    model = nn.Sequential(Less(LESS[cause]), network) if cause in LESS else Defended(network, APPLIES[cause])
    effect = batch_effect(model, images, 0.01)
    assert effect.dependent and cause in effect.cause
    (finding,) = batch_finding(effect)
    assert finding.severity == "alarm" and finding.evidence["images"] == 8


def test_what_only_happens_to_perturbed_images_is_found(linear):
    network, images = linear
    images = (images * 255).round() / 255
    effect = batch_effect(Defended(network, off_the_grid), images, 0.007)
    assert effect.dependent and effect.kind in ("perturbed", "beside its like")


def test_batchnorm_of_the_batch_is_named():
    images = torch.rand(16, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3)
    assert "BatchNorm" in batch_effect(nn.Sequential(*layers).eval(), images, 0.01).cause


@pytest.mark.parametrize("name", ["lenet", "wide_resnet_small"])
def test_an_honest_network_is_independent(name):
    network = escrime.build(name, 10, seed=0)
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    effect = batch_effect(network.eval(), images, 0.01)
    assert not effect.dependent and effect.largest < 1e-3


def test_alone_is_the_same_function_and_keeps_gradients(linear):
    network, images = linear
    x = images[:5].clone().requires_grad_()
    alone = Alone(network)(x)
    assert torch.allclose(alone, network(x), atol=1e-6)
    assert torch.autograd.grad(alone.sum(), x)[0].abs().sum() > 0


def test_what_is_robust_in_company_only_is_judged_alone(linear):
    """The number of an evaluation is that of the undefended network, whatever the batch it came in."""
    network, images = linear
    labels = network(images).argmax(1)
    model = Defended(network, APPLIES["number of images in the batch (from 24 on)"])
    effort = Effort(images=20, steps=10, queries=20, draws=20, doublings=1)
    result = evaluate(model, (images, labels), [FGSM(0.1), PGD(0.1, steps=10)], checks=effort)
    plain = evaluate(network, (images, labels), [FGSM(0.1), PGD(0.1, steps=10)], checks=False)
    asked = result.records[result.records["attack"].isin(["FGSM", "PGD"])]
    assert asked["prediction"].tolist() == plain.records["prediction"].tolist()
    assert [f.severity for f in result.checks if f.id == "batch-dependent"] == ["alarm"]
    assert not result.verdicts[0].believe
