"""Giving up spares passes where success is out of sight, and nothing where it is not."""

from dataclasses import replace

import pytest
import torch
from attack_cases import Linear, grey, labels_of

from escrime import APGD, DGSM, FMN, AutoAttack, Square
from escrime.attacks.problem import Problem
from escrime.models.twin import Twin

ATTACKS = [
    APGD(0.1, give_up=2.0),
    APGD(0.1, loss="dlr", targets_tried=3, give_up=2.0),
    DGSM(0.1, target=2, early_stop=True, give_up=3.0),
    FMN(0.1, stop_within=True, give_up=2.0),
    Square(0.1, queries=1000, give_up=2.0),
    AutoAttack(0.1, queries=1000),
]


@pytest.fixture
def problem():
    model, images = Linear(), grey(30)
    keep = labels_of(model, images) != 2
    images = images[keep]
    labels = labels_of(model, images)
    return model, images, labels, model.reach(images, "linf")


def run(attack, model, images, labels, eps):
    outcome = attack.sweep(model, images, labels, [eps.tolist()])[0]
    return outcome.success, float(outcome.forwards.sum())


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_budget_of_a_third_of_what_is_needed_is_left_soon(attack, problem):
    model, images, labels, reach = problem
    full, spent = run(replace(attack, give_up=None), model, images, labels, reach / 3)
    found, less = run(attack, model, images, labels, reach / 3)
    # The linear search of FMN reaches the boundary itself, where every further doubling gains a little.
    assert not full.any() and not found.any() and less < (spent if isinstance(attack, FMN) else spent / 2)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("factor", [1.02, 1.3])
def test_a_sufficient_budget_finds_what_it_found(attack, factor, problem):
    model, images, labels, reach = problem
    if isinstance(attack, Square):
        factor += 0.1  # random search gains too slowly close to the optimum to tell whether it will get there
    full, _ = run(replace(attack, give_up=None), model, images, labels, reach * factor)
    found, _ = run(attack, model, images, labels, reach * factor)
    assert torch.equal(found, full)


def test_a_search_that_is_ahead_of_another_attack_goes_on(problem):
    """With hidden gradients the search by scores is ahead of the gradients; then it spends its whole budget."""
    model, images, labels, reach = problem
    attack, eps = Square(0.1, queries=1000, give_up=2.0), (reach / 3)[None]
    everyone = torch.ones_like(eps, dtype=torch.bool)
    for floor, whole in ((1e9, True), (-1e9, False)):
        asked = replace(Problem.checked(images, labels, None, None, 0, None), floor=torch.full((len(images),), floor))
        outcome = attack._sweep(Twin(model), asked, eps.cpu(), everyone)[0]
        assert bool((outcome.forwards >= 1000).all()) == whole


def test_it_is_off_on_a_randomized_model():
    for attack in ATTACKS:
        assert attack.against_noise(4).give_up is None
