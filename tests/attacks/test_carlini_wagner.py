"""Carlini–Wagner beyond the laws: confidence, the search for c, what stopping early saves."""

import pytest
import torch
from attack_cases import Linear, grey, labels_of, plain

from escrime import CarliniWagner, EscrimeError
from escrime.attacks.core.losses import margin
from escrime.norms import NORMS

FAST = {"steps": 60, "rounds": 4, "initial_c": 1.0}


@pytest.fixture
def model():
    return Linear(2)


@pytest.fixture
def images():
    return grey(12, spread=0.5)


def test_confidence_asks_for_a_margin(model, images):
    """The logits of an example differ by κ, so that it lies farther: on a linear model by κ/‖w₁ − w₀‖₂."""
    labels = labels_of(model, images)
    farther = 2.0 / float((model.weight[1] - model.weight[0]).detach().norm())
    outcome = CarliniWagner(confidence=2.0, steps=150, rounds=5, initial_c=1.0).sweep(model, images, labels, [None])[0]
    assert outcome.success.all() and (margin(model(outcome.adversarial).detach(), labels, None) <= -2.0 + 1e-3).all()
    away = NORMS["l2"].distance(outcome.adversarial, images)
    assert (away <= (model.reach(images, "l2") + farther) * 1.05).all()


def test_more_rounds_find_nearer_examples(model, images):
    """The first c is far too large; halving it between what failed and what succeeded comes close to the optimum."""
    labels, exact = labels_of(model, images), model.reach(images, "l2")
    found = {}
    for rounds in (1, 4):
        attack = CarliniWagner(steps=40, rounds=rounds, initial_c=30.0, step_size=0.03)
        found[rounds] = NORMS["l2"].distance(attack(model, images, labels), images) / exact
    assert found[4].mean() < found[1].mean() and (found[4] <= found[1]).all()


def test_c_rises_tenfold_until_something_is_found(model, images):
    """From a c that is far too small the search still arrives."""
    labels = labels_of(model, images)
    attack = CarliniWagner(steps=60, rounds=6, initial_c=1e-4)
    outcome = attack.sweep(model, images, labels, [None])[0]
    assert outcome.success.all()
    assert (outcome.forwards <= 6 * 61 + 12).all()


def test_stop_within_leaves_at_the_first_example_that_is_near_enough(model, images):
    labels, exact = labels_of(model, images), model.reach(images, "l2")
    eps = float(exact.median() * 1.1)
    full, early = (
        CarliniWagner(eps, stop_within=stop, **FAST).sweep(plain(model), images, labels, [eps])[0] for stop in (False, True)
    )
    assert torch.equal(full.success, early.success) and 0 < early.success.sum() < 12
    assert (early.forwards[early.success] < full.forwards[early.success] / 2).all()
    assert (early.forwards[~early.success] == full.forwards[~early.success]).all()


def test_images_at_the_faces_of_the_box_can_move(model):
    """At 0 and 1 the arctangent of the change of variables is infinite; the search starts a little inside."""
    images = (grey(12, spread=0.5) > 0.5).float()
    labels = labels_of(model, images)
    outcome = CarliniWagner(steps=200, rounds=2, initial_c=10.0, step_size=0.1).sweep(model, images, labels, [None])[0]
    assert outcome.adversarial.isfinite().all() and outcome.success.float().mean() > 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CarliniWagner(steps=0), "steps = 0 is not a whole number from 1"),
        (lambda: CarliniWagner(rounds=0), "rounds = 0 is not a whole number from 1"),
        (lambda: CarliniWagner(step_size=0), "step_size = 0 is not a number above 0"),
        (lambda: CarliniWagner(initial_c=-1), "initial_c = -1 is not a number above 0"),
        (lambda: CarliniWagner(confidence=-1), "confidence = -1 is not a number from 0; give one, 0 for any misclassification"),
        (lambda: CarliniWagner("x"), "not a number"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()
