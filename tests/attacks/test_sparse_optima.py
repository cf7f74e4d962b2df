"""Attacks in l1 and l0 against linear models, whose nearest example in the box is known: the steepest values, or pixels, to the
end of the box, one after the other."""

from dataclasses import replace

import pytest
import torch
from attack_cases import Linear, grey, labels_of, plain

from escrime import APGD, FGSM, FMN, PGD, AutoAttack, Square, WorstCase
from escrime.attacks import RandomPoints, SigmaZero, SparseRS
from escrime.norms import NORMS

SEARCH = {"steps": 40, "queries": 60, "targets_tried": 3}


def reach(model, images, labels, norm):
    """The exact distance (N,) to the nearest other class: the least sum of changes, or the fewest pixels, whose gain covers
    what the label is ahead by."""
    weight, logits = model.weight.double(), model(images).double()
    nearest = torch.full((len(images),), float("inf"), dtype=torch.float64)
    for other in range(logits.shape[1]):
        slope = (weight[other] - weight[labels]).view_as(images)
        room = (1 - images.double()).where(slope > 0, images.double())
        ahead = logits.gather(1, labels[:, None]).squeeze(1) - logits[:, other]
        if norm == "l0":
            gains = (slope.abs() * room).sum(1).flatten(1).sort(dim=1, descending=True).values.cumsum(1)
            far = 1 + (gains <= ahead[:, None]).sum(1).double()
        else:
            steep, order = slope.abs().flatten(1).sort(dim=1, descending=True)
            room = room.flatten(1).gather(1, order)
            gains, spent = (steep * room).cumsum(1), room.cumsum(1)
            last = (gains < ahead[:, None]).sum(1, keepdim=True).clamp_max(steep.shape[1] - 1)
            missing = gains.gather(1, last) - ahead[:, None]
            far = (spent.gather(1, last) - missing / steep.gather(1, last)).squeeze(1)
        nearest = torch.where(labels == other, nearest, torch.minimum(nearest, far))
    return nearest.detach()


def linear(classes):
    """A linear model whose class 0 is some pixels ahead, and images of it."""
    model, images = Linear(classes), grey(30, spread=0.5)
    model.bias.data[0] += 9
    labels = labels_of(model, images)
    assert (labels == 0).all()
    return model, images, labels


def fooled(attack, model, images, labels, eps):
    return labels_of(model, replace(attack, eps=eps.tolist())(model, images, labels)) != labels


@pytest.mark.parametrize(
    ("attack", "classes", "more"),
    [
        (FGSM(1, norm="l1"), 2, 1.001),
        (PGD(1, norm="l1", steps=40), 2, 1.02),
        (APGD(1, norm="l1", steps=60), 2, 1.06),
        (APGD(1, norm="l1", steps=60, loss="dlr", targets_tried=3), 4, 1.06),
        (APGD(1, norm="l1", steps=60, eot=2), 2, 1.06),
        (FMN(1, norm="l1", steps=60, stop_within=True), 2, 1.02),
        (AutoAttack(1, norm="l1", **SEARCH), 4, 1.02),
        (FGSM(1, norm="l0"), 2, 0),
        (PGD(1, norm="l0", steps=20), 2, 0),
        (FMN(1, norm="l0", steps=60, stop_within=True), 2, 2),
        (SigmaZero(1, steps=60, stop_within=True), 2, 2),
        (AutoAttack(1, norm="l0", **SEARCH), 4, 1),
    ],
    ids=repr,
)
def test_with_a_budget(attack, classes, more):
    """With a little more than the distance (so many more pixels) every image falls, with less than it none does."""
    model, images, labels = linear(classes)
    exact = reach(model, images, labels, attack.norm)
    assert exact.min() > 1 and (exact < 20).all(), "more than one value or pixel, and not all"
    enough, less = (exact + more, exact - 1) if attack.norm == "l0" else (exact * more, exact * 0.99)
    assert fooled(attack, model, images, labels, enough).all()
    assert not fooled(attack, model, images, labels, less).any()


@pytest.mark.parametrize(
    ("attack", "slack"),
    [(FMN(steps=100, norm="l1"), 0.02), (FMN(steps=100, norm="l0"), 0.15), (SigmaZero(steps=200), 0.15)],
    ids=repr,
)
def test_the_nearest_example(attack, slack):
    model, images, labels = linear(4)
    exact, outcome = reach(model, images, labels, attack.norm), attack.sweep(model, images, labels, [None])[0]
    found = NORMS[attack.norm].distance(outcome.adversarial, images)
    assert outcome.success.all() and (labels_of(model, outcome.adversarial) != labels).all()
    assert (found >= exact * (1 - 1e-4)).all() and found.mean() <= exact.mean() * (1 + slack)


@pytest.mark.parametrize("attack", [PGD(0, norm="l1"), APGD(0, norm="l1", steps=40), PGD(0, norm="l0")], ids=repr)
def test_the_worst_case_curve_is_exact_to_the_grid(attack):
    model, images, labels = linear(2)
    exact = reach(model, images, labels, attack.norm)
    grid = [exact - 2, exact - 1, exact, exact + 1] if attack.norm == "l0" else [exact * f for f in (0.9, 0.99, 1.02, 1.3)]
    curve = WorstCase(attack).sweep(model, images, labels, grid)
    assert torch.equal(torch.stack([o.success for o in curve]), torch.tensor([[False]] * 2 + [[True]] * 2).expand(4, 30))


@pytest.mark.parametrize(
    ("attack", "factor", "least"),
    [
        (Square(1, norm="l1", queries=60), 4, 0.5),
        (SparseRS(1, queries=80), 2, 0.8),
        (RandomPoints(1, norm="l1", draws=20), 2, 0.0),
        (RandomPoints(1, norm="l0", draws=20), 2, 0.0),
    ],
    ids=repr,
)
def test_a_search_by_scores_comes_near(attack, factor, least):
    model, images, labels = linear(4)
    exact = reach(model, images, labels, attack.norm)
    assert fooled(attack, plain(model), images, labels, (factor * exact).round()).float().mean() >= least
    assert not fooled(attack, plain(model), images, labels, (exact - 1).clamp_min(0).floor()).any()


@pytest.mark.parametrize(
    "attack",
    [
        PGD(20, norm="l1"),
        APGD(20, norm="l1", steps=40),
        FMN(20, norm="l1"),
        AutoAttack(20, norm="l1", **SEARCH),
        PGD(12, norm="l0"),
        FMN(12, norm="l0"),
        SigmaZero(12),
        SparseRS(12, queries=400),
        AutoAttack(12, norm="l0", **SEARCH),
    ],
    ids=repr,
)
def test_targets_are_reached(attack):
    model, images, labels = linear(4)
    targets = (labels + torch.arange(30) % 3 + 1) % 4
    outcome = attack.sweep(model, images, labels, [attack.eps], targets=targets)[0]
    reached = labels_of(model, outcome.adversarial) == targets
    assert reached.float().mean() >= (0.9 if isinstance(attack, SparseRS) else 1) and torch.equal(outcome.success, reached)


@pytest.mark.parametrize(("steps", "farthest"), [(40, [1, 3, 2, 1]), (9, [1])])
def test_apgd_passes_through_larger_balls(steps, farthest):
    """The iterates of an image that stands lie in the balls of ε, 3ε, 2ε and ε in turn; few steps stay in that of ε."""
    model, images, labels = linear(2)
    eps, image, asked = 0.2, images[:1], []

    def recorded(x):
        asked.append(float((x.detach() - image).abs().sum()) / eps)
        return model(x)

    found = APGD(eps, norm="l1", steps=steps, loss="margin")(recorded, image, labels[:1])
    parts = [asked[: steps + 1]] if len(farthest) == 1 else [asked[at : at + 6] for at in (4, 14, 22, 32)]
    assert [max(part) for part in parts] == pytest.approx(farthest, rel=0.05)
    assert float((found - image).abs().sum()) <= eps * (1 + 1e-5)
