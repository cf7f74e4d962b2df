"""Flatness: answers that are known, no dependence on batches or scale, and no trace on the network."""

import copy

import pytest
import torch
from torch import nn

from escrime.evaluation import flatness as module
from escrime.evaluation.flatness import AXIS, MEASURES, flatness


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(20, 1, 4, 4, generator=generator), torch.arange(20) % 3


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3, bias=False)).eval()


def measured(networks, images, labels, **settings):
    return flatness(networks, images, labels, range(len(images)), settings.get("eps", 0.1), settings.get("seed", 0))


def test_a_network_that_says_nothing_is_flat(images, network):
    silent = copy.deepcopy(network)
    nn.init.zeros_(silent[3].weight)
    found = measured({"none": network, "silent": silent}, *images)
    for measure in MEASURES:
        assert found["measures"][measure]["silent"]["mean"] == pytest.approx(0, abs=1e-6)
    for kind in ("images", "weights"):
        heights = torch.tensor(found["surfaces"][kind]["silent"])
        torch.testing.assert_close(heights, torch.full_like(heights, torch.log(torch.tensor(3.0)).item()))


def test_sharper_logits_are_steeper_and_a_rescaled_layer_changes_nothing(images, network):
    steep, moved = copy.deepcopy(network), copy.deepcopy(network)
    with torch.no_grad():
        steep[3].weight *= 20
        moved[0].weight *= 8
        moved[3].weight /= 8
    found = measured({"none": network, "steep": steep, "moved": moved}, *images)["measures"]
    for measure in ("loss_rise", "gradient_norm", "linearity_error"):
        assert found[measure]["steep"]["ratio_low"] > 1 and found[measure]["steep"]["p"] < 0.05, measure
    assert found["weight_ascent"]["steep"]["mean"] > 5 * found["weight_ascent"]["none"]["mean"] > 0
    assert found["weight_rise"]["none"]["low"] < 0 and found["weight_rise"]["steep"]["ratio"] is None  # no ratio to nothing
    for measure in ("loss_rise", "gradient_norm", "weight_rise", "weight_ascent"):
        assert found[measure]["moved"]["mean"] == pytest.approx(found[measure]["none"]["mean"], rel=1e-3, abs=1e-6), measure


def test_the_rise_and_the_surface_agree_with_a_pass_by_hand(images, network):
    pixels, labels = images
    found = measured({"none": network}, pixels, labels)
    x = pixels.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(network(x), labels, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    moved = (pixels + 0.1 * gradient.sign()).clamp(0, 1)
    rise = nn.functional.cross_entropy(network(moved), labels, reduction="none") - loss
    assert found["measures"]["loss_rise"]["none"]["mean"] == pytest.approx(rise.mean().item(), rel=1e-5)
    bent = (rise - ((moved - pixels) * gradient).flatten(1).sum(1)).abs()
    assert found["measures"]["linearity_error"]["none"]["mean"] == pytest.approx(bent.mean().item(), rel=1e-3)
    middle = AXIS.index(0.0)
    for kind in ("images", "weights"):
        assert found["surfaces"][kind]["none"][middle][middle] == pytest.approx(loss.mean().item(), rel=1e-5)
    assert found["surfaces"]["images"]["none"][AXIS.index(1)][middle] == pytest.approx((loss + rise).mean().item(), rel=1e-4)


def test_no_trace_and_no_batch(images, network, monkeypatch):
    before, state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    network.train()
    whole = measured({"none": network}, *images)
    monkeypatch.setattr("escrime.models.running.network_batch", lambda images: 7)
    parts = measured({"none": network}, *images)
    for measure in MEASURES:
        assert parts["measures"][measure]["none"]["mean"] == pytest.approx(whole["measures"][measure]["none"]["mean"], rel=1e-4)
    assert network.training and torch.equal(state, torch.random.get_rng_state())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_the_ascent_among_the_weights_agrees_with_a_pass_by_hand(images, network):
    pixels, labels = images
    found = measured({"none": network}, pixels, labels)
    start = nn.functional.cross_entropy(network(pixels), labels)
    start.backward()
    with torch.no_grad():
        for weight in network.parameters():
            filters, steps = weight.flatten(1), weight.grad.flatten(1)
            filters += module.ASCENT * steps * (filters.norm(dim=1) / steps.norm(dim=1).clamp_min(1e-12))[:, None]
        rise = float(nn.functional.cross_entropy(network(pixels), labels) - start)
    assert rise > 0 and found["measures"]["weight_ascent"]["none"]["mean"] == pytest.approx(rise, rel=1e-3)
    surface = found["surfaces"]["weights"]["none"]
    assert surface[AXIS.index(1)][AXIS.index(0)] == pytest.approx(start.item() + rise, rel=1e-4)


def test_folding_batchnorm_changes_no_answer(images, monkeypatch):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).eval()
    for tensor in (network[1].running_mean, network[1].running_var, network[1].weight, network[1].bias):
        nn.init.uniform_(tensor, 0.5, 2.0)
    folded = measured({"none": network}, *images)
    monkeypatch.setattr(module, "prepare", lambda network: network)
    plain = measured({"none": network}, *images)
    for measure in MEASURES:
        expected = plain["measures"][measure]["none"]["mean"]
        assert folded["measures"][measure]["none"]["mean"] == pytest.approx(expected, rel=1e-3, abs=1e-6), measure
    for kind in ("images", "weights"):
        surfaces = (torch.tensor(found["surfaces"][kind]["none"]) for found in (folded, plain))
        torch.testing.assert_close(*surfaces, rtol=1e-4, atol=1e-5)
