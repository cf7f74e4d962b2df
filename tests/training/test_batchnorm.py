"""What training mode makes of BatchNorm, seen before anything is trained."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import escrime
from escrime.training import TrainSettings, fit
from escrime.training.batchnorm import look_at_batchnorm
from escrime.training.session import training_mode

CPU = torch.device("cpu")
SETTINGS = TrainSettings(epochs=5, batch_size=32)


@pytest.fixture(scope="module")
def digits():
    return escrime.data.load("digits").train


@pytest.fixture(scope="module")
def learned(digits):
    """A network with BatchNorm that has learned the digits."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = [
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        ]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))
    fit(
        model, digits, settings=TrainSettings(epochs=2, learning_rate=0.05, batch_size=32, schedule="one-cycle"), progress=False
    )
    return model


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def folded(model):
    """The same network with its BatchNorm folded away, and its channels at other scales, which its next layer takes back."""
    model = copy.deepcopy(model)
    layers, rng = list(model), np.random.default_rng(0)
    for at in (0, 3):
        weights, norm, following = layers[at], layers[at + 1], layers[(at + 3) if at == 0 else 7]
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        other = torch.from_numpy(np.exp(rng.uniform(-4, 4, len(scale)))).float()
        weights.weight.data *= (scale * other)[:, None, None, None]
        weights.bias.data = (weights.bias.data * scale + norm.bias.detach() - norm.running_mean * scale) * other
        norm.weight.data.fill_(1), norm.bias.data.zero_(), norm.running_mean.zero_(), norm.running_var.fill_(1 - norm.eps)
        if at == 0:
            following.weight.data /= other[None, :, None, None]
        else:
            following.weight.data /= other.repeat_interleave(4)[None]
    return model


def look(model, data, settings=SETTINGS):
    return look_at_batchnorm(model, data, settings, seed=0, device=CPU)


def test_folded_away_it_must_stay(learned, digits):
    found, fine = look(folded(learned), digits), look(learned, digits)
    assert found.as_it_is == pytest.approx(fine.as_it_is, abs=0.02) and found.as_it_is > 0.9
    assert found.in_training < 0.6 and found.worse and "batches of 32" in found.reason
    assert fine.reason == "" and not fine.worse and fine.in_training > 0.9


def test_statistics_of_other_images(learned, digits):
    """As of a network whose running statistics are not those of what it is trained on now."""
    model = copy.deepcopy(learned)
    for norm in norms(model):
        norm.running_mean += 3 * norm.running_var.sqrt() * (torch.arange(len(norm.running_mean)) % 2)
    right = look(model, digits)
    assert right.as_it_is < right.in_training and right.reason == "", "training mends this one"


def test_batches_that_say_too_little(learned, digits):
    """Nothing to normalize with, or the statistics of the last few images alone."""
    alone = nn.Sequential(*list(learned)[:6], nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(32), nn.Flatten(), nn.Linear(32, 10))
    found = look(alone, digits, TrainSettings(batch_size=1))
    assert found.worse and "cannot be run" in found.reason


@pytest.mark.parametrize(("momentum", "steps", "stale"), [(0.1, 5 * 45, 0.0), (0.001, 5 * 45, 0.8), (None, 5 * 45, 0.29)])
def test_statistics_that_never_catch_up(learned, digits, momentum, steps, stale):
    model = copy.deepcopy(learned)
    for norm in norms(model):
        norm.momentum = momentum
        norm.num_batches_tracked.fill_(90)
    found = look(model, digits)
    assert found.stale == pytest.approx(stale, abs=0.02) and bool(found.reason) == (stale > 0.5)


class Own(nn.Module):
    """BatchNorm as somebody wrote it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))

    def forward(self, x):
        mean = x.mean((0, 2, 3)) if self.training else self.running_mean
        return x - 100 * mean[None, :, None, None]


def test_others_that_keep_statistics_are_seen_and_frozen_too(learned, digits):
    model = nn.Sequential(Own(), *copy.deepcopy(learned))
    assert look(model, digits).worse
    training_mode(model, freeze_batchnorm=True)
    assert model.training and not model[0].training and not norms(model)[0].training and model[1].training
    training_mode(model, freeze_batchnorm=False)
    assert model[0].training and norms(model)[0].training


def test_the_look_leaves_no_trace(learned, digits):
    model = copy.deepcopy(learned).train()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    first, second = look(model, digits), look(model, digits)
    assert first == second and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and torch.equal(torch.random.get_rng_state(), state)


def test_without_running_statistics_there_is_nothing_to_see(digits):
    untracked = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(144, 10)
    )
    for model in (escrime.build("lenet", 10), untracked):
        assert look(model, digits) is None
