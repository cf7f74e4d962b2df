"""FGSM against its formula and on models whose gradient is known."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from escrime import FGSM
from escrime.norms import NORMS


def test_formula(network, images, labels):
    """x' = clip(x + ε·sign(∇J), 0, 1), computed here the plain way."""
    network.eval()
    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(cross_entropy(network(x), labels), x)
    expected = (images + 0.1 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(FGSM(0.1)(network, images, labels), expected, atol=1e-7, rtol=0)


def test_two_class_linear_model_reaches_the_known_optimum(linear, images):
    """With two classes ∇J ∝ w₁ - w₀: the margin must fall by exactly ε·‖w₁ - w₀‖₁ while the box is not touched."""
    linear.weight.data, linear.bias.data = linear.weight.data[:2], linear.bias.data[:2]
    x = 0.3 + 0.4 * images
    labels = torch.zeros(len(x), dtype=torch.long)
    moved = FGSM(0.05)(linear, x, labels)
    margin = lambda z: z[:, 0] - z[:, 1]  # noqa: E731
    drop = (margin(linear(x)) - margin(linear(moved))).detach()
    worst = 0.05 * (linear.weight[0] - linear.weight[1]).abs().sum().detach()
    assert torch.allclose(drop, worst.expand(len(x)), rtol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_box_ball_and_full_budget(network, images, labels, norm):
    moved = FGSM(0.1, norm=norm)(network, images, labels)
    assert NORMS[norm].inside(moved, images, 0.1).all()
    assert NORMS[norm].distance(moved, images).max() > 0.09


def test_targeted_raises_the_target(linear, images):
    labels, targets = torch.zeros(len(images), dtype=torch.long), torch.full((len(images),), 2)
    moved = FGSM(0.02, target=2)(linear, images, labels)
    assert torch.equal(moved, FGSM(0.02)(linear, images, labels, targets=targets))
    before, after = (
        cross_entropy(linear(images), targets, reduction="none"),
        cross_entropy(linear(moved), targets, reduction="none"),
    )
    assert (after < before).all()


def test_sweep_equals_single_calls_and_takes_one_gradient(network, images, labels):
    passes = []
    network.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    swept = FGSM(0.1).sweep(network, images, labels, [0.01, 0.05, 0.1])
    assert passes == [len(images)]
    assert sum(float(o.backwards.sum()) for o in swept) == pytest.approx(len(images))
    for eps, outcome in zip([0.01, 0.05, 0.1], swept, strict=True):
        assert torch.equal(outcome.adversarial, FGSM(eps)(network, images, labels))
