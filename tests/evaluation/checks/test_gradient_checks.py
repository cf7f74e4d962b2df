"""The checks of a model's gradients: what they notice, and what they leave alone."""

import pytest
import torch
from torch import nn

from escrime import APGD, FGSM, PGD, Effort, evaluate
from escrime.evaluation.checks.gradients import gradient_findings, measure_gradients, surface_settings

QUICK = Effort(images=40, steps=20, queries=100, draws=50, doublings=1)


class Behind(nn.Module):
    """A network behind a change of its input."""

    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x):
        return self.network(self.change(x))


class Contrast(nn.Module):
    """Multiplies by the contrast, whose gradient at an image of one color is NaN, while the logits are fine."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x - 0.5) * (x.flatten(1).var(1).sqrt().reshape(-1, 1, 1, 1) + 1))


@pytest.fixture
def network():
    """Linear layers and ReLU on 4×4 images, without biases: on an image that is all black it is silent."""
    gen = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4, bias=False)).eval()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=gen) / 4
    return net


@pytest.fixture
def images():
    """Half of the pixels are 0 or 1."""
    return (2 * torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1)) - 0.5).clamp(0, 1)


def findings(model, images):
    measured = measure_gradients(model, images, model(images).argmax(1), 0.025)
    settings = surface_settings(measured)
    return settings, {finding.id: finding for finding in gradient_findings(measured)}


@pytest.mark.parametrize("only_bounds", [False, True])
def test_a_clamp_is_noted_and_gone_around_without_alarm(network, images, only_bounds):
    """Images of zeros and ones only have no gradient at all behind a clamp, and still nothing is wrong with the model."""
    images = images.round() if only_bounds else images
    settings, found = findings(Behind(network, lambda x: x.clamp(0, 1)), images)
    assert settings == {"through": True} and list(found) == ["gradient-at-bounds"]
    note = found["gradient-at-bounds"]
    assert note.severity == "note" and note.evidence["affected"] == len(images)
    assert findings(network, images)[0] == {} and list(findings(network, images)[1]) == ["gradients"]


def test_a_gradient_that_is_missing_everywhere_is_no_matter_of_bounds(network, images):
    for change in (torch.detach, lambda x: (x * 8).round() / 8, lambda x: (x.clamp(0, 1) * 255).round() / 255):
        settings, found = findings(Behind(network, change), images)
        assert settings == {"through": True} and list(found) == ["gradient-zero"]


def test_a_clamp_does_not_flatter_the_model(network, images):
    """The clamp does nothing to images, so both models fall alike."""
    clamped, labels = Behind(network, lambda x: x.clamp(0, 1)), network(images).argmax(1)
    attacks = [FGSM(0.05), PGD(0.05, steps=10), APGD(0.05, steps=10)]
    plain, behind = (evaluate(model, (images, labels), attacks, checks=QUICK) for model in (network, clamped))
    assert behind.records["correct"].tolist() == plain.records["correct"].tolist() and not behind.alarms
    naive = clamped(PGD(0.05, steps=10)(clamped, images, labels)).argmax(1) == labels
    assert naive.float().mean() > behind.verdicts[0].accuracy + 0.1, "or the case would prove nothing"
    assert behind.verdicts[0].believe


def test_a_gradient_that_is_not_finite_is_an_alarm_and_no_end_of_the_evaluation(network, images):
    images[5] = 0
    model = Contrast(network)
    labels = model(images).argmax(1)
    assert model(images).isfinite().all()
    settings, found = findings(model, images)
    assert found["gradient-not-finite"].severity == "alarm" and found["gradient-not-finite"].evidence["affected"] == 1
    result = evaluate(model, (images, labels), [FGSM(0.05), PGD(0.05, steps=5)], checks=QUICK)
    assert "gradient-not-finite" in {finding.id for finding in result.alarms}
    assert len(result.records) and 0 < result.verdicts[0].accuracy < 1


def test_it_measures_the_same_under_inference_mode(network, images):
    labels = network(images).argmax(1)
    expected = measure_gradients(network, images, labels, 0.025)
    with torch.inference_mode():
        found = measure_gradients(network, images.clone(), labels.clone(), 0.025)
    for name, value in vars(expected).items():
        assert torch.equal(value, getattr(found, name)), name
