"""The worst-case curve against the full grid, and what it costs."""

import pytest
import torch

from escrime import APGD, DGSM, FGSM, PGD, EscrimeError, WorstCase
from escrime.attacks.core.jobs import Bisection
from escrime.norms import NORMS

GRID = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12]


def labels_of(model, images):
    return model(images).argmax(1).detach()


def fooled(model, outcome, labels):
    return model(outcome.adversarial).argmax(1) != labels


@pytest.mark.parametrize("attack", [PGD(0.1, steps=20), APGD(0.1, steps=20, restarts=2), FGSM(0.1)])
def test_never_above_the_full_grid_and_never_rising(linear, images, attack):
    labels = labels_of(linear, images)
    full = [fooled(linear, o, labels) for o in attack.sweep(linear, images, labels, GRID)]
    worst = WorstCase(attack).sweep(linear, images, labels, GRID)
    curve = [fooled(linear, o, labels) for o in worst]
    assert all((b | ~a).all() for a, b in zip(full, curve)), "whatever falls on its own falls here"
    assert all((later | ~earlier).all() for earlier, later in zip(curve, curve[1:])), "and stays fooled"
    assert curve[0].sum() < curve[-1].sum(), "the grid of this test must make a difference"
    for eps, outcome, found in zip(GRID, worst, curve):
        assert NORMS["linf"].inside(outcome.adversarial, images, eps).all() and torch.equal(outcome.success, found)


def test_costs_the_logarithm_of_the_grid(linear, images):
    labels = labels_of(linear, images)
    full = DGSM(0.1, steps=20)
    targets = (labels + 1) % 4
    count = lambda attack: sum(o.forwards.sum() for o in attack.sweep(linear, images, labels, GRID, targets=targets))  # noqa: E731
    assert count(WorstCase(full)) < count(full) / 2, "at most 3 to 4 of 8 runs, and each stops at its success"
    assert sum(o.forwards.sum() for o in WorstCase(FGSM(0.1)).sweep(linear, images, labels, GRID)) <= len(images) * (
        1 + len(GRID)
    )


def test_an_order_of_the_grid_other_than_ascending_is_kept(linear, images):
    labels = labels_of(linear, images)
    attack, mixed = WorstCase(PGD(0.1, steps=10)), [0.08, 0.005, 0.03]
    for eps, outcome in zip(mixed, attack.sweep(linear, images, labels, mixed)):
        again = attack.sweep(linear, images, labels, sorted(mixed))[sorted(mixed).index(eps)]
        assert (
            torch.equal(outcome.adversarial, again.adversarial) and NORMS["linf"].inside(outcome.adversarial, images, eps).all()
        )


def test_halving_finds_every_boundary():
    """Every possible smallest success of grids of every length, with and without an example deeper than its ε."""
    for count in range(1, 10):
        budgets = torch.arange(1.0, count + 1)[:, None].expand(count, count + 1)
        plan = Bisection(budgets, 1, torch.ones(count + 1, dtype=torch.bool))
        runs = 0
        while job := plan.next():
            smallest = job.image  # image i falls at ε index i; the last one never
            plan.report(job, job.eps >= smallest, float(budgets[max(smallest, 0) if smallest < count else 0, 0]))
            runs += 1
        assert plan.smallest_success.tolist() == list(range(count + 1))
        sources = plan.sources()
        for image in range(count):
            assert (sources[image:, image] >= image).all() and (sources[:image, image] < image).all()
        assert runs <= (count + 1) * (count.bit_length())


def test_it_takes_attacks_only():
    with pytest.raises(EscrimeError, match="give one of escrime's attacks"):
        WorstCase(lambda model, x, y: x)
