"""Attacks against models whose nearest adversarial example is known in closed form."""

from dataclasses import replace

import pytest
import torch
from attack_cases import Ball, Linear, grey, labels_of, plain

from escrime import APGD, DGSM, FGSM, FMN, PGD, AutoAttack, CarliniWagner, DeepFool, Square, WorstCase
from escrime.norms import NORMS

BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
SEARCH = {"steps": 40, "queries": 60, "targets_tried": 3}
MINIMUM_NORM = [
    (FMN(steps=100), 2, 0.01),
    (FMN(steps=100, norm="l2"), 2, 0.01),
    (DeepFool(), 4, 0.021),
    (DeepFool(norm="linf"), 4, 0.021),
    (CarliniWagner(steps=100, rounds=5, initial_c=0.3), 2, 0.02),
]
CLOSEST = pytest.mark.parametrize(("attack", "classes", "slack"), MINIMUM_NORM, ids=repr)


def linear(classes):
    """A linear model, and images well within its classes and the box. With two classes the cross-entropy and the margin,
    too, point to the nearest boundary; with more the nearest is one of several."""
    model, images = Linear(classes), grey(300, spread=0.5)
    images = images[model.reach(images, "l2").argsort(descending=True)[:30]]
    return model, images, labels_of(model, images)


def fooled(attack, model, images, labels, eps):
    return labels_of(model, replace(attack, eps=eps.tolist())(model, images, labels)) != labels


@BOTH_NORMS
@pytest.mark.parametrize(
    ("attack", "classes"),
    [
        (FGSM(0.1), 2),
        (PGD(0.1, steps=40, random_start=False), 2),
        (PGD(0.1, steps=20, restarts=2, momentum=0.5, random_start=False), 2),
        (APGD(0.1, steps=40), 2),
        (FMN(steps=100, stop_within=True), 2),
        (APGD(0.1, steps=40, loss="dlr", targets_tried=3), 4),
        (DeepFool(overshoot=0.01), 4),
        (AutoAttack(0.1, **SEARCH), 4),
    ],
    ids=repr,
)
def test_with_a_budget(attack, classes, norm):
    """With 2 % more than the distance every image falls, with 1 % less none does: no step leaves the ball."""
    model, images, labels = linear(classes)
    exact, attack = model.reach(images, norm), replace(attack, norm=norm)
    assert fooled(attack, model, images, labels, exact * 1.02).all()
    assert not fooled(attack, model, images, labels, exact * 0.99).any()


@BOTH_NORMS
def test_with_a_budget_from_a_random_start(norm):
    """The steps of PGD, 2.5 ε in all, turn a random direction in l2 to within a few percent of the best one."""
    model, images, labels = linear(2)
    exact, attack = model.reach(images, norm), PGD(0.1, norm=norm)
    assert fooled(attack, model, images, labels, exact * (1.02 if norm == "linf" else 1.06)).all()
    assert not fooled(attack, model, images, labels, exact * 0.99).any()


def test_dgsm():
    model, images, labels = linear(2)
    for factor in (1.02, 0.99):
        eps = (model.reach(images, "linf") * factor).tolist()
        moved = DGSM(eps)(model, images, labels, targets=1 - labels)
        assert ((labels_of(model, moved) != labels) == (factor > 1)).all()


@BOTH_NORMS
def test_the_worst_case_curve_is_exact_to_the_grid(norm):
    """Of a grid around the exact distance an image falls from the first ε above it."""
    model, images, labels = linear(2)
    grid = [(model.reach(images, norm) * factor).tolist() for factor in (0.8, 0.9, 0.99, 1.02, 1.1, 1.3)]
    curve = [o.success for o in WorstCase(PGD(0.1, norm=norm, random_start=False)).sweep(model, images, labels, grid)]
    assert torch.equal(torch.stack(curve), torch.tensor([[False]] * 3 + [[True]] * 3).expand(6, 30))


@CLOSEST
def test_nearest_example_of_a_linear_model(attack, classes, slack):
    model, images, labels = linear(classes)
    exact, outcome = model.reach(images, attack.norm), attack.sweep(model, images, labels, [None])[0]
    found = NORMS[attack.norm].distance(outcome.adversarial, images)
    assert outcome.success.all() and (labels_of(model, outcome.adversarial) != labels).all()
    assert (found >= exact * (1 - 1e-4)).all() and (found <= exact * (1 + slack)).all()


@CLOSEST
def test_nearest_example_of_a_target(attack, classes, slack):
    model, images, labels = linear(2)
    exact, outcome = model.reach(images, attack.norm), attack.sweep(model, images, labels, [None], targets=1 - labels)[0]
    found = NORMS[attack.norm].distance(outcome.adversarial, images)
    assert outcome.success.all() and (labels_of(model, outcome.adversarial) != labels).all()
    assert (found >= exact * (1 - 1e-4)).all() and (found <= exact * (1 + slack)).all()


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("attack", [FMN(norm="l2"), DeepFool(), CarliniWagner(steps=120, rounds=5, initial_c=0.3)], ids=repr)
def test_nearest_example_of_a_curved_boundary(attack, inside):
    """From within a ball or from outside, the boundary is |‖x − c‖ − r| away, and an example at most 3 % farther.

    DeepFool stops at its first success, and from within its linear step overshoots: to (r² − d²) / 2d.
    """
    radius, away = 0.8 if inside else 0.2, torch.linspace(0.3, 0.6, 12)
    direction = torch.randn(12, 48, generator=torch.Generator().manual_seed(0))
    center = torch.full((1, 3, 4, 4), 0.5)
    images = center + (direction / direction.norm(dim=1, keepdim=True) * away[:, None]).reshape(12, 3, 4, 4)
    model = Ball(center, radius)
    labels, exact = labels_of(model, images), (away - radius).abs()
    most = (radius**2 - away**2) / (2 * away) if inside and isinstance(attack, DeepFool) else exact
    assert (labels == int(inside)).all()
    outcome = attack.sweep(model, images, labels, [None])[0]
    found = NORMS["l2"].distance(outcome.adversarial, images)
    assert outcome.success.all() and (labels_of(model, outcome.adversarial) != labels).all()
    assert (found >= exact - 1e-5).all() and (found <= most * 1.03).all()


BUDGETS = {"linf": 0.2, "l2": 2.0}
REACHING = [
    *(
        attack
        for norm, eps in BUDGETS.items()
        for attack in (
            PGD(eps, norm=norm, steps=30),
            APGD(eps, norm=norm, steps=30),
            APGD(eps, norm=norm, steps=30, loss="dlr"),
            FMN(eps, norm=norm),
            DeepFool(eps, norm=norm),
            AutoAttack(eps, norm=norm, **SEARCH),
            WorstCase(PGD(eps, norm=norm, steps=30)),
            Square(eps, norm=norm, queries=400),
        )
    ),
    DGSM(BUDGETS["linf"]),
    CarliniWagner(BUDGETS["l2"], steps=60, rounds=5, initial_c=1.0),
]


@pytest.mark.parametrize("attack", REACHING, ids=repr)
def test_targets_are_reached(attack):
    """With budget enough every image reaches its target, whichever class that is; the random search nearly every one."""
    model, images, labels = linear(4)
    targets = (labels + torch.arange(30) % 3 + 1) % 4
    outcome = attack.sweep(plain(model), images, labels, [attack.eps], targets=targets)[0]
    reached = labels_of(model, outcome.adversarial) == targets
    assert reached.float().mean() >= (0.9 if isinstance(attack, Square) else 1)
    assert outcome.success is None or torch.equal(outcome.success, reached)
