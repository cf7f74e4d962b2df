"""Each check of a model's input and output fires on a mistake made on purpose, and never on an honest model."""

import json

import pytest
import torch
from torch import nn

import escrime
from escrime.data import load
from escrime.evaluation.checks.inputs import input_findings
from escrime.evaluation.checks.neighborhood import look_around
from escrime.models.architectures import IMAGENET_MEAN as MEAN
from escrime.models.architectures import IMAGENET_STD as STD
from escrime.training import TrainSettings, fit, objective


class Before(nn.Module):
    """A network behind a change of its input, and another of its output."""

    def __init__(self, network, change=lambda x: x, after=lambda z: z):
        super().__init__()
        self.network, self.change, self.after = network, change, after

    def forward(self, images):
        return self.after(self.network(self.change(images)))


def found(model, images, labels, randomized=None) -> dict:
    randomized = look_around(model, images, 0.01, seed=0).randomized if randomized is None else randomized
    findings = input_findings(model, images, labels, randomized, seed=0)
    json.dumps([finding.as_dict() for finding in findings], allow_nan=False)
    assert len({finding.id for finding in findings}) == len(findings)
    return {finding.id: finding for finding in findings}


def alarms(model, images, labels) -> set[str]:
    return {id for id, finding in found(model, images, labels).items() if finding.severity == "alarm"}


@pytest.fixture(scope="module")
def digits():
    return load("digits").test.batch(slice(0, 64))


@pytest.fixture(scope="module")
def lenet():
    model = escrime.build("lenet", 10, seed=0)
    fit(model, load("digits").train, objective("clean"), settings=TrainSettings(epochs=5, learning_rate=0.05, batch_size=32))
    return model.eval()


@pytest.fixture(scope="module")
def colors():
    """Colored images and a linear network on normalized pixels that is always right: what it was made for is known."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(128, 3, 4, 4, generator=generator)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(5, 48, generator=generator))
        network[1].bias.copy_(8 * torch.randn(5, generator=generator))
    model = escrime.Normalized(network, MEAN, STD).eval()
    return images, model(images).argmax(1), network, model


def test_honest_models_raise_no_alarm(digits, lenet, colors):
    images, labels = digits
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    fit(linear, load("digits").train, objective("clean"), settings=TrainSettings(epochs=5, learning_rate=0.2))
    for model in (lenet, linear.eval(), lambda x: lenet(x), escrime.PredictionAveraging(lenet, eps_max=0.3, samples=4)):
        assert alarms(model, images, labels) == set()
    findings = found(lenet, images, labels)
    assert set(findings) == {"near-chance", "input-range", "probabilities", "deterministic", "batch-dependent"}
    assert {finding.severity for finding in findings.values()} == {"passed"}
    assert alarms(colors[3], colors[0], colors[1]) == set()


def test_an_untrained_network_is_no_better_than_guessing(digits):
    finding = found(escrime.build("lenet", 10, seed=0).eval(), *digits)["near-chance"]
    assert finding.severity == "alarm" and "loading mistake" in finding.message and finding.evidence["images"] == 64


def test_too_few_images_to_tell_from_guessing_are_a_warning(digits, lenet):
    images, _ = digits
    said = lenet(images).argmax(1)
    for right, n, severity in ((0, 4, "warning"), (1, 4, "warning"), (1, 16, "alarm"), (16, 16, "passed")):
        labels = torch.where(torch.arange(n) < right, said[:n], (said[:n] + 1) % 10)
        assert found(lenet, images[:n], labels)["near-chance"].severity == severity


FED = {
    "0–255": (lambda x: x / 255, "the model expects 0–255", "std=1 / 255"),
    "[−1, 1]": (lambda x: (x + 1) / 2, "the model expects [−1, 1]", "mean=0.5"),
    "BGR": (lambda x: x.flip(1), "BGR", "flip(1)"),
}


@pytest.mark.parametrize("way", FED)
def test_a_model_made_for_another_range_is_told_apart(colors, way):
    images, labels, _, model = colors
    change, cause, remedy = FED[way]
    finding = found(Before(model, change), images, labels)["input-range"]
    assert finding.severity == "alarm" and cause in finding.message and remedy in finding.remedy
    assert f"{len(images)} of {len(images)} images are right" in finding.message


def test_missing_and_doubled_normalization_are_told_apart(colors):
    images, labels, network, model = colors
    missing = found(network, images, labels)["input-range"]
    assert (
        missing.severity == "alarm" and "lacks its normalization" in missing.message and "escrime.Normalized" in missing.remedy
    )
    doubled = found(escrime.Normalized(model, MEAN, STD), images, labels)["input-range"]
    assert doubled.severity == "alarm" and "normalizes twice" in doubled.message


def test_a_model_that_refuses_other_ranges_is_left_alone(digits, lenet):
    def strict(images):
        if images.min() < 0 or images.max() > 1:
            raise ValueError("not in [0, 1]")
        return lenet(images)

    finding = found(strict, *digits)["input-range"]
    assert finding.severity == "passed" and "as 0–255" not in finding.evidence["right of the first 16"]


def test_one_channel_has_no_colors_to_swap(digits, lenet):
    images, labels = digits
    gray = found(lambda x: lenet(x.expand(-1, 3, -1, -1)), images[:, :1], labels)["input-range"]
    assert gray.severity == "passed" and set(gray.evidence["right of the first 16"]) == {"as 0–255", "scaled to [−1, 1]"}


def test_softmax_that_was_taken_already_is_an_alarm(digits, lenet):
    finding = found(Before(lenet, after=lambda z: z.softmax(1)), *digits)["probabilities"]
    assert finding.severity == "alarm" and "logits" in finding.remedy
    assert found(Before(lenet, after=lambda z: z.log_softmax(1)), *digits)["probabilities"].severity == "passed"
    assert found(Before(lenet, after=lambda z: z.sigmoid()), *digits)["probabilities"].severity == "passed"


def test_layers_in_training_mode_are_noted_and_put_back(digits):
    images, labels = digits
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 10)).train()
    finding = found(model, images, labels)["train-mode"]
    assert finding.severity == "note" and finding.evidence == {"layers": 1, "kinds": ["Dropout"]}
    assert all(module.training for module in model.modules())
    assert "train-mode" not in found(model.eval(), images, labels)


class Noisy(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images + 0.05 * torch.randn_like(images))


def test_noise_is_said_and_answered_by_eot(digits, lenet):
    findings = found(Noisy(lenet), *digits)
    assert findings["randomized"].severity == "warning"
    assert "batch-dependent" not in findings and "deterministic" not in findings
    state = torch.random.get_rng_state()
    assert found(Noisy(lenet), *digits) == findings
    assert torch.equal(torch.random.get_rng_state(), state)


def test_statistics_of_the_batch_are_an_alarm(digits):
    images, labels = digits
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)]
    finding = found(nn.Sequential(*layers).eval(), images, labels)["batch-dependent"]
    assert finding.severity == "alarm" and "BatchNorm" in finding.remedy and finding.evidence["affected"] == 8


def test_so_is_an_answer_that_depends_on_the_place_in_the_batch(digits, lenet):
    def placed(images):
        return lenet(images) + torch.arange(len(images)).float()[:, None] * torch.linspace(0, 1, 10)

    def placed_in_many(images):
        assert len(images) > 2
        return placed(images)

    assert found(placed, *digits)["batch-dependent"].severity == "alarm"
    assert found(placed_in_many, *digits)["batch-dependent"].severity == "alarm"


def test_a_network_that_cannot_be_asked_alone_is_asked_in_pairs(digits, lenet):
    def never_alone(images):
        if len(images) == 1:
            raise RuntimeError("expected a batch")
        return lenet(images)

    assert found(never_alone, *digits)["batch-dependent"].severity == "passed"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_an_alarm(digits, lenet, value):
    def broken(images):
        logits = lenet(images).clone()
        logits[images[:, 0].flatten(1).sum(1) > 20, 3] = value
        return logits

    findings = found(broken, *digits, randomized=False)
    assert findings["non-finite"].severity == "alarm" and 0 < findings["non-finite"].evidence["not finite"] < 64
    assert "near-chance" not in findings  # nothing else can be said of it


def test_a_model_that_writes_into_its_input_spoils_nothing(digits, lenet):
    images, labels = digits
    before = images.clone()
    findings = found(lambda x: lenet(x.mul_(1.0).clamp_(0.2, 0.8)), images.clone(), labels, randomized=False)
    given = images.clone()
    input_findings(lambda x: lenet(x.zero_()), given, labels, False)
    assert torch.equal(given, before) and "near-chance" in findings


def test_no_image_is_no_crash(digits, lenet):
    images, labels = digits
    assert set(found(lenet, images[:0], labels[:0], randomized=False)) == {"deterministic"}


@pytest.fixture(scope="module")
def binary(digits):
    """Images of zeros and ones, and a network of one logit that tells them apart."""
    images, labels = digits
    two = labels < 2
    images, labels = images[two], labels[two]
    network = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 1))
    direction = images[labels == 1].mean(0) - images[labels == 0].mean(0)
    with torch.no_grad():
        network[1].weight.copy_(20 * direction.reshape(1, -1))
        scores = (images * direction).flatten(1).sum(1)
        network[1].bias.fill_(-20 * float(scores[labels == 0].mean() + scores[labels == 1].mean()) / 2)
    return images, labels, network


def test_one_probability_in_place_of_one_logit_is_an_alarm(binary):
    images, labels, network = binary
    assert len(images) > 8 and "sigmoid-output" not in found(network, images, labels)
    said = found(Before(network, after=torch.sigmoid), images, labels)["sigmoid-output"]
    assert said.severity == "alarm" and said.evidence["right at 0.5"] > 0.9
    weak = Before(network, after=lambda z: z * 1e-3)
    assert "sigmoid-output" not in found(weak, images, labels), "small, but a logit"
    assert "sigmoid-output" not in found(Before(network, after=torch.sigmoid), images, torch.ones_like(labels)), (
        "all are of class 1"
    )
