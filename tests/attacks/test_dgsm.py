"""DGSM against the paper's equations and on linear models, where its optimum is known in closed form."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from escrime import DGSM, EscrimeError
from escrime.norms import NORMS


def test_loss_is_the_difference_of_cross_entropies():
    """J(x, desired) − J(x, true) = z_true − z_desired: the log-sum-exp terms cancel."""
    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(32, 10, dtype=torch.float64, generator=gen) * 5
    true, desired = torch.randint(0, 5, (32,), generator=gen), torch.randint(5, 10, (32,), generator=gen)
    expected = cross_entropy(logits, desired, reduction="none") - cross_entropy(logits, true, reduction="none")
    assert torch.allclose(DGSM(0.1, 1).objective(logits, true, desired), expected, atol=1e-12)


def test_the_loss_does_not_saturate():
    """In float32 the cross-entropy of a very confident prediction has no gradient; z_true − z_desired has."""
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    (plain,) = torch.autograd.grad(cross_entropy(logits, torch.tensor([0])), logits)
    assert not plain.any()
    (gradient,) = torch.autograd.grad(DGSM(0.1, 1).objective(logits, torch.tensor([0]), torch.tensor([1])).sum(), logits)
    assert gradient.tolist() == [[1.0, -1.0]]


def test_one_step_on_a_linear_model(linear, images):
    labels = torch.zeros(len(images), dtype=torch.long)
    direction = (linear.weight[2] - linear.weight[0]).sign().detach().reshape(1, 3, 5, 5)
    expected = (images + 0.03 * direction).clamp(0, 1)
    moved = DGSM(0.1, target=2, steps=1, step_size=0.03)(linear, images, labels)
    assert torch.allclose(moved, expected, atol=1e-6)


def test_optimum_on_a_linear_model(linear, images):
    """Enough steps reach the face of ball ∩ box that minimizes z_true − z_desired exactly."""
    labels = torch.zeros(len(images), dtype=torch.long)
    direction = (linear.weight[2] - linear.weight[0]).sign().detach().reshape(1, 3, 5, 5)
    expected = (images + 0.1 * direction).clamp(0, 1)
    assert torch.allclose(DGSM(0.1, target=2)(linear, images, labels), expected, atol=1e-6)


def test_paper_iteration_written_out(network, images):
    network.eval()
    labels, target = torch.zeros(len(images), dtype=torch.long), 2
    delta = torch.zeros_like(images)
    for _ in range(5):
        x = (images + delta).requires_grad_(True)
        logits = network(x)
        loss = cross_entropy(logits, torch.full_like(labels, target), reduction="sum") - cross_entropy(
            logits, labels, reduction="sum"
        )
        (gradient,) = torch.autograd.grad(loss, x)
        delta = (delta - 0.02 * gradient.sign()).clamp(-0.05, 0.05)
        delta = (images + delta).clamp(0, 1) - images
    moved = DGSM(0.05, target=target, steps=5, step_size=0.02)(network, images, labels)
    assert torch.allclose(moved, images + delta, atol=1e-6)


def test_reaches_its_targets(linear, images):
    labels = torch.ones(len(images), dtype=torch.long)
    targets = torch.tensor([0, 2, 3] * 3)
    moved = DGSM(0.5)(linear, images, labels, targets=targets)
    assert torch.equal(linear(moved).argmax(1), targets)


def test_early_stop_keeps_the_first_success(linear, images):
    labels = torch.zeros(len(images), dtype=torch.long)
    full, early = DGSM(0.5, target=2), DGSM(0.5, target=2, early_stop=True)
    a, b = (attack.sweep(linear, images, labels, [0.5])[0] for attack in (full, early))
    assert (linear(b.adversarial).argmax(1) == 2).all()
    assert (b.forwards <= a.forwards + 1).all() and b.forwards.sum() < a.forwards.sum()
    assert ((b.adversarial - images).abs().amax((1, 2, 3)) <= (a.adversarial - images).abs().amax((1, 2, 3)) + 1e-6).all()


def test_a_sweep_is_the_same_as_single_calls(network, images):
    labels = torch.zeros(len(images), dtype=torch.long)
    attack = DGSM(0.1, target=1, steps=4)
    for eps, outcome in zip([0.02, 0.1], attack.sweep(network, images, labels, [0.02, 0.1]), strict=True):
        assert torch.allclose(outcome.adversarial, DGSM(eps, target=1, steps=4)(network, images, labels), atol=1e-6)
        assert NORMS["linf"].inside(outcome.adversarial, images, eps).all()


@pytest.mark.parametrize(
    ("settings", "call", "message"),
    [
        ({"target": 0}, {}, "equals the label of image 0"),
        ({}, {}, "target=CLASS"),
        ({"target": 9}, {}, "class 9"),
        ({"target": 2}, {"targets": torch.full((9,), 2)}, "only one"),
        ({"target": 2, "steps": -1}, {}, "steps = -1 is not a whole number from 0; give one"),
        ({"target": 2, "step_size": 0.0}, {}, "step_size = 0.0 is not a number above 0; give one"),
    ],
)
def test_bad_targets_and_settings_are_refused(linear, images, settings, call, message):
    with pytest.raises(EscrimeError, match=message):
        DGSM(0.1, **settings)(linear, images, torch.zeros(9, dtype=torch.long), **call)
