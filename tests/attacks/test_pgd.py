"""PGD and APGD on models whose optimum is known, and the promises of the scheduler they run on."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from escrime import APGD, PGD, EscrimeError
from escrime.norms import NORMS


def labels_of(model, images):
    return model(images).argmax(1).detach()


class Quadratic(nn.Module):
    """Two classes; z₁ - z₀ = r² - ‖x - c‖²: the nearest misclassified point is known, and gradients change along the way."""

    def __init__(self, center, radius):
        super().__init__()
        self.center, self.radius = center, radius

    def forward(self, x):
        inner = self.radius**2 - (x - self.center).flatten(1).square().sum(1)
        return torch.stack([torch.zeros_like(inner), inner, -100 + 0 * inner], dim=1)


@pytest.mark.parametrize("attack", [PGD, APGD])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_known_optimum_on_a_linear_model(linear, attack, norm):
    """Two classes, no box in the way: the margin falls by exactly ε times the dual norm of w₁ - w₀."""
    linear.weight.data, linear.bias.data = linear.weight.data[:2], linear.bias.data[:2]
    x = torch.full((4, 3, 5, 5), 0.5)
    labels, eps = torch.zeros(4, dtype=torch.long), 0.1 if norm == "linf" else 0.4
    moved = attack(eps, steps=60, norm=norm, loss="margin", early_stop=False)(linear, x, labels)
    direction = (linear.weight[0] - linear.weight[1]).detach()
    worst = eps * (direction.abs().sum() if norm == "linf" else direction.norm())
    margin = lambda z: (z[:, 0] - z[:, 1]).detach()  # noqa: E731
    assert torch.allclose(margin(linear(x)) - margin(linear(moved)), worst.expand(4), rtol=1e-3 if norm == "linf" else 2e-2)


@pytest.mark.parametrize("attack", [PGD, APGD])
def test_known_boundary_on_a_quadratic_model(attack):
    """In l2 the attack succeeds just above the distance to the ball of class 1, and not below it."""
    center = torch.full((1, 3, 4, 4), 0.5)
    x = center + 0.03
    away = float((x - center).norm())
    model, labels = Quadratic(center, away - 0.1), torch.zeros(1, dtype=torch.long)
    for eps, falls in ((0.09, False), (0.11, True)):
        moved = attack(eps, steps=60, norm="l2")(model, x, labels)
        assert (model(moved).argmax(1) != labels).item() == falls


@pytest.mark.parametrize("attack", [PGD(0.02, steps=1), APGD(0.02, steps=1), PGD(0.02, steps=1, random_start=False)])
def test_one_step_is_an_attack(attack, linear, images):
    """The last iterate counts (a library that returns the iterate before its last step returns the clean image here)."""
    labels = labels_of(linear, images)
    moved = attack(linear, images, labels)
    assert (NORMS["linf"].distance(moved, images) > 0).all()
    assert (linear(moved).argmax(1) != labels).sum() > (linear(images).argmax(1) != labels).sum()


@pytest.mark.parametrize("attack", [PGD(0.1, steps=20, step_size=0.5), PGD(0.1, steps=3), APGD(0.1, steps=5)])
def test_never_worse_than_the_start(attack, network, images):
    """Steps far too large overshoot; the best iterate is kept, and the random start is one of them."""
    from dataclasses import replace

    from escrime.attacks.core.losses import ce

    network.eval()
    labels = labels_of(network, images)
    full = replace(attack, early_stop=False)
    from escrime.attacks.core.iterative import Rows
    from escrime.attacks.core.scheduler import START
    from escrime.attacks.core.starts import random_start
    from escrime.randomness import as_keys, derive

    rows = Rows(images, labels, None, None, torch.full((9,), 0.1, dtype=torch.float64), NORMS["linf"])
    keys = as_keys([(0, i, full.name, 0.1, 0) for i in range(9)])
    start = random_start(rows, derive(keys, START))
    moved = full(network, images, labels)
    fooled_before, fooled = (network(x).argmax(1) != labels for x in (start, moved))
    assert (fooled | ~fooled_before).all()
    same = fooled == fooled_before
    assert (ce(network(moved), labels, None) <= ce(network(start), labels, None) + 1e-6)[same].all()


def test_restarts_touch_only_survivors(linear, images):
    """Restarts cost passes only for images that still stand."""
    labels = labels_of(linear, images)
    one = PGD(0.02, steps=3).sweep(linear, images, labels, [0.02])[0]
    three = PGD(0.02, steps=3, restarts=3).sweep(linear, images, labels, [0.02])[0]
    fooled = linear(one.adversarial).argmax(1) != labels
    assert fooled.any() and not fooled.all(), "this test needs both kinds of image"
    assert torch.equal(three.forwards[fooled], one.forwards[fooled])
    standing = ~(linear(three.adversarial).argmax(1) != labels)
    assert (three.forwards[standing] == 3 * 4).all()


def test_success_costs_no_more_passes_than_it_needs(linear, images):
    labels = labels_of(linear, images)
    outcome = PGD(0.5, steps=100).sweep(linear, images, labels, [0.5])[0]
    assert (linear(outcome.adversarial).argmax(1) != labels).all() and outcome.forwards.max() < 20


def test_targets_tried_reaches_what_the_top_class_cannot(images):
    """Class 1 is the runner-up but no pixel moves it; class 2 is third and reachable: the targeted rounds find it."""

    class Trap(nn.Module):
        def forward(self, x):
            rest = x.flatten(1).mean(1)
            return torch.stack([5 + 0 * rest, 4.9 + 0 * rest, 10 * rest - 2, -5 + 0 * rest], dim=1)

    labels = torch.zeros(len(images), dtype=torch.long)
    moved = APGD(0.3, steps=20, loss="dlr", targets_tried=2)(Trap(), images, labels)
    assert (Trap()(moved).argmax(1) == 2).all()


@pytest.mark.parametrize("restarts", [1, 2, 3, 4])
def test_restarts_count_runs_per_class_tried(linear, images, restarts):
    attack = APGD(1e-4, steps=2, loss="dlr", targets_tried=3, restarts=restarts, early_stop=False)
    assert attack.restarts == replace(attack, steps=3).restarts == restarts
    outcome = attack.sweep(linear, images, labels_of(linear, images), [1e-4])[0]
    assert (outcome.backwards == restarts * 3 * 3).all()


def test_apgd_halves_its_step_where_pgd_oscillates():
    """A narrow valley: constant large steps jump across it for ever, APGD ends closer to the bottom."""
    center = torch.full((1, 3, 4, 4), 0.5)
    model, labels = Quadratic(center, 0.01), torch.zeros(1, dtype=torch.long)
    x = center + 0.07
    reach = {
        attack: float((attack(model, x, labels) - center).norm())
        for attack in (APGD(0.1, steps=50, loss="margin"), PGD(0.1, steps=50, step_size=0.2, loss="margin"))
    }
    apgd, pgd = reach.values()
    assert apgd < 0.2 * pgd


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball(images, norm):
    from escrime.attacks.core.iterative import Rows
    from escrime.attacks.core.starts import random_start
    from escrime.randomness import as_keys

    inner = torch.full((200, 1, 4, 4), 0.5)
    rows = Rows(inner, None, None, None, torch.full((200,), 0.2, dtype=torch.float64), NORMS[norm])
    starts = random_start(rows, as_keys([(0, i) for i in range(200)]))
    assert NORMS[norm].inside(starts, inner, 0.2).all()
    radii = NORMS[norm].distance(starts, inner) / 0.2
    assert radii.min() > 0.5 and radii.max() > 0.98, "uniform points of 16 dimensions lie near the surface"


def test_dlr_does_not_change_with_the_scale_of_the_logits(images):
    from escrime.attacks.core.losses import dlr

    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.arange(20) % 6
    for aims in (None, (labels + 1) % 6):
        assert torch.allclose(dlr(logits, labels, aims), dlr(1000 * logits, labels, aims), atol=1e-5)
    wrong = logits.argmax(1) != labels
    assert ((dlr(logits, labels, None) < 0) == wrong).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(0.1, steps=0), "steps = 0 is not a whole number from 1; give one"),
        (lambda: PGD(0.1, restarts=0), "restarts = 0 is not a whole number from 1; give one"),
        (lambda: PGD(0.1, loss="cw"), "unknown"),
        (lambda: PGD(0.1, norm="l3"), "unknown"),
        (lambda: PGD(0.1, step_size=-1), "negative"),
        (lambda: PGD(0.1, step_size="0/255"), "step_size = 0.0 is not a number above 0; give one"),
        (lambda: APGD(0.1, targets_tried=2, target=1), "exclude each other"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()


def test_a_tensor_without_dimensions_is_a_number(linear, images):
    attack, labels = PGD(torch.tensor(0.25), steps=2), labels_of(linear, images)
    assert attack.eps == 0.25
    assert torch.equal(attack(linear, images, labels), PGD(0.25, steps=2)(linear, images, labels))


def test_dlr_needs_enough_classes(linear, images):
    linear.weight.data, linear.bias.data = linear.weight.data[:2], linear.bias.data[:2]
    with pytest.raises(EscrimeError, match="needs 3 classes"):
        APGD(0.1, loss="dlr")(linear, images, torch.zeros(9, dtype=torch.long))


def test_smoothing_is_a_gaussian_over_places():
    """As a convolution computes it; a size of image below the radius is none too small."""
    from escrime.attacks.pgd import smoothed

    gradient = torch.randn(2, 3, 9, 6, generator=torch.Generator().manual_seed(0))
    line = torch.exp(-0.5 * torch.arange(-4, 5).div(4 / 3).square())
    kernel = torch.outer(line, line) / line.sum() ** 2
    wanted = torch.nn.functional.conv2d(gradient, kernel.expand(3, 1, 9, 9), padding=4, groups=3)
    assert torch.allclose(smoothed(gradient, 4), wanted, atol=1e-6)
    assert smoothed(gradient[..., :2], 7).isfinite().all()
