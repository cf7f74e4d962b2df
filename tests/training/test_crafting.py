"""Making the training examples: the bits that recorded runs were trained on."""

import pytest
import torch
from torch import nn

from escrime import build
from escrime.attacks.core.gradients import input_gradient
from escrime.training.crafting import climb, cross_entropy_sum, evaluation_mode


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return build("lenet", 10, seed=0), torch.rand(16, 1, 28, 28), torch.randint(10, (16,))


EACH = torch.linspace(0.01, 0.3, 16).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("eps", [0.1, 8 / 255, EACH], ids=["tenth", "8/255", "each"])
def test_the_steps_of_a_climb_are_sign_steps_in_float32(problem, eps):
    """Written out: trained weights hang on the last bit of every example."""
    model, images, labels = problem
    start = (images + eps * torch.randn_like(images).sign()).clamp(0, 1)
    low, high = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
    with evaluation_mode(model):
        found = climb(model, images, start, cross_entropy_sum(labels), eps, eps / 3, steps=5)
        expected = start
        for _ in range(5):
            x = expected.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels, reduction="sum"), x)
            expected = (expected + eps / 3 * gradient.sign()).maximum(low).minimum(high)
    assert torch.equal(found, expected) and not torch.equal(found, start)


def test_a_model_that_writes_into_its_input_has_a_gradient_too(problem):
    _, images, labels = problem
    linear = nn.Linear(28 * 28, 10)

    def writes(x):
        return linear(x.mul_(2).flatten(1))

    before = images.clone()
    twice = input_gradient(lambda x: linear((2 * x).flatten(1)), images, cross_entropy_sum(labels))
    with torch.no_grad():
        assert torch.equal(input_gradient(writes, images, cross_entropy_sum(labels)), twice)
    assert torch.equal(images, before) and all(weight.grad is None for weight in linear.parameters())
