"""Giving up spares passes where success is out of sight, and nothing where it is not."""

from dataclasses import replace

import pytest
import torch
from attack_cases import Linear, grey, labels_of
from torch import nn

from escrime import APGD, DGSM, FMN, PGD, AutoAttack, Square
from escrime.attacks.core.inputs import Inputs
from escrime.attacks.transfer import for_transfer
from escrime.models.fast.twin import Twin

ATTACKS = [
    APGD(0.1, give_up=2.0),
    APGD(0.1, loss="dlr", targets_tried=3, give_up=2.0),
    DGSM(0.1, target=2, early_stop=True, give_up=3.0),
    FMN(0.1, stop_within=True, give_up=2.0),
    Square(0.1, queries=1000, give_up=2.0),
    AutoAttack(0.1, queries=1000),
]


@pytest.fixture
def inputs():
    model, images = Linear(), grey(30)
    keep = labels_of(model, images) != 2
    images = images[keep]
    labels = labels_of(model, images)
    return model, images, labels, model.reach(images, "linf")


def run(attack, model, images, labels, eps):
    outcome = attack.sweep(model, images, labels, [eps.tolist()])[0]
    return outcome.success, float(outcome.forwards.sum())


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_budget_of_a_third_of_what_is_needed_is_left_soon(attack, inputs):
    model, images, labels, reach = inputs
    full, spent = run(replace(attack, give_up=None), model, images, labels, reach / 3)
    found, less = run(attack, model, images, labels, reach / 3)
    # The linear search of FMN reaches the boundary itself, where every further doubling gains a little.
    assert not full.any() and not found.any() and less < (spent if isinstance(attack, FMN) else spent / 2)


@pytest.mark.parametrize("queries", [500, 5000])
def test_a_random_search_that_gets_nowhere_is_left_after_64_queries(queries, inputs):
    model, images, labels, reach = inputs
    outcome = Square(0.1, queries=queries, give_up=2.0).sweep(model, images, labels, [(reach / 100).tolist()])[0]
    assert (outcome.forwards == 64).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("factor", [1.02, 1.3])
def test_a_sufficient_budget_finds_what_it_found(attack, factor, inputs):
    model, images, labels, reach = inputs
    if isinstance(attack, Square):
        factor += 0.1  # random search gains too slowly close to the optimum to show whether it will get there
    full, _ = run(replace(attack, give_up=None), model, images, labels, reach * factor)
    found, _ = run(attack, model, images, labels, reach * factor)
    assert torch.equal(found, full)


def test_a_search_that_is_ahead_of_another_attack_goes_on(inputs):
    """With hidden gradients the search by scores is ahead of the gradients; then it spends its whole budget."""
    model, images, labels, reach = inputs
    attack, eps = Square(0.1, queries=1000, give_up=2.0), (reach / 3)[None]
    everyone = torch.ones_like(eps, dtype=torch.bool)
    for floor, whole in ((1e9, True), (-1e9, False)):
        asked = replace(Inputs.checked(images, labels, None, None, 0, None), floor=torch.full((len(images),), floor))
        outcome = attack._sweep(Twin(model), asked, eps.cpu(), everyone)[0]
        assert bool((outcome.forwards >= 1000).all()) == whole


class Shaken(nn.Module):
    """`model` with noise on its logits."""

    def __init__(self, model, size):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images):
        logits = self.model(images)
        return logits + self.size * torch.randn_like(logits)


def chance(model, images, labels, draws=2000):
    """The share of draws (N,) in which each image is right, the same draws every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.stack([labels_of(model, images) == labels for _ in range(draws)]).float().mean(0)


def test_against_noise_only_what_settles_a_success_leaves_early():
    for attack in ATTACKS:
        noisy, confirms = attack.against_noise(4), not isinstance(attack, (DGSM, FMN))
        assert noisy.confirms == confirms and (noisy.give_up == attack.give_up if confirms else noisy.give_up is None)
        assert attack.against_noise(1).give_up is None  # a single draw decides nothing


def test_what_fools_another_network_spends_everything_against_noise_too():
    for attack in ATTACKS:
        noisy = for_transfer(attack).against_noise(4)
        assert noisy.give_up is None and not getattr(noisy, "early_stop", False)


NOISY = [
    PGD(0.1, loss="margin"),
    APGD(0.1, loss="margin", steps=40, give_up=2.0),
    APGD(0.1, loss="dlr", targets_tried=3, steps=40, give_up=2.0),
    AutoAttack(0.1, steps=20, queries=300),
]


@pytest.mark.parametrize("attack", NOISY, ids=repr)
@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_against_noise_what_leaves_early_loses_no_strength(attack, factor, inputs):
    model, images, labels, reach = inputs
    shaken = Shaken(model, 0.05)
    everything = replace(for_transfer(attack), **({"queries": attack.queries} if isinstance(attack, AutoAttack) else {}))
    full = everything.against_noise(8).sweep(shaken, images, labels, [(reach * factor).tolist()])[0]
    less = attack.against_noise(8).sweep(shaken, images, labels, [(reach * factor).tolist()])[0]
    before, after = (chance(shaken, outcome.adversarial, labels) for outcome in (full, less))
    assert after.mean() <= before.mean() + 0.015 and (after <= before + 0.15).all()
    spent = [float((outcome.forwards + outcome.backwards).mean()) for outcome in (full, less)]
    assert spent[1] < (spent[0] / 2 if factor == 3 else 1.1 * spent[0])


def test_a_lucky_average_is_no_success(inputs):
    """Where one draw in ten is right no image leaves, though nearly every average over eight draws is wrong."""
    _, images, labels, _ = inputs

    class Mixed(nn.Module):
        def forward(self, x):
            wrong = (torch.rand(len(x), 1) < 0.9).float()
            looks = 1e-3 * x.flatten(1).mean(1, keepdim=True)
            return torch.cat([looks - 10 * wrong, wrong, wrong, wrong], dim=1)

    attack = PGD(0.1, steps=16).against_noise(8)
    outcome = attack.sweep(Mixed(), images, torch.zeros_like(labels), [0.1])[0]
    assert (outcome.backwards == 17 * 8).all() and not outcome.success.any()


def test_what_is_left_early_is_wrong_for_certain(inputs):
    """Success is claimed of images only that are hardly ever right."""
    model, images, labels, reach = inputs
    shaken, rates = Shaken(model, 0.3), []
    for factor in (1.0, 1.5, 2.0, 4.0):
        outcome = PGD(0.1, steps=20).against_noise(8).sweep(shaken, images, labels, [(reach * factor).tolist()])[0]
        rates.append(chance(shaken, outcome.adversarial, labels)[outcome.success])
        assert outcome.success.any() or factor < 4
    assert torch.cat(rates).mean() < 0.02 and torch.cat(rates).max() < 0.05


def test_a_random_search_that_falls_no_more_ends_against_noise(inputs):
    """Where the images stay in sight, since one draw in a few is wrong, whatever the search does."""
    _, images, labels, _ = inputs

    class Steady(nn.Module):
        def forward(self, x):
            margin = 1 + torch.randn(len(x), 1) + 1e-6 * x.flatten(1).mean(1, keepdim=True)
            return torch.cat([margin, torch.zeros(len(x), 3)], dim=1)

    attack = Square(0.1, queries=4000, give_up=2.0).against_noise(8)
    outcome = attack.sweep(Steady(), images[:10], 0 * labels[:10], [0.1])[0]
    assert outcome.forwards.mean() < 8 * 2000 and outcome.forwards.min() >= 8 * 128
