"""A model that ignores its input is told from one whose predictions merely do not change on the images at hand."""

import pytest
import torch
from torch import nn

from escrime.evaluation.checks.neighborhood import look_around


class Biased(nn.Module):
    """Class 3 by far, whatever the images here, and yet a network looks at them."""

    def __init__(self, end):
        super().__init__()
        self.network, self.end = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), end
        with torch.no_grad():
            self.network[1].weight.copy_(torch.randn(5, 48, generator=torch.Generator().manual_seed(1)) / 7)
            self.network[1].bias.copy_(torch.tensor([-60.0, -60.0, -60.0, 60.0, -60.0]))

    def forward(self, images):
        return self.end(self.network(images))


class Constant(nn.Module):
    """Looks at nothing but the number of images; `noise` and `gradient` keep up appearances."""

    def __init__(self, noise=0.0, gradient=False):
        super().__init__()
        self.bias, self.noise, self.gradient = nn.Parameter(torch.arange(5.0)), noise, gradient

    def forward(self, images):
        logits = self.bias + self.noise * torch.randn(len(images), 5)
        return logits + 0 * images.flatten(1).mean(1, keepdim=True) if self.gradient else logits


ENDS = {
    "tanh": lambda z: torch.tanh(100 * z),
    "clamp": lambda z: (100 * z).clamp(-1, 1),
    "softmax": lambda z: (100 * z).softmax(1),
    "comparison": lambda z: (z > 30).float(),
    "labels through numpy": lambda z: nn.functional.one_hot(torch.from_numpy(z.detach().numpy().argmax(1)), 5).float(),
}


@pytest.fixture
def images():
    return torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("end", ENDS)
def test_a_model_that_saturates_does_not_ignore_its_input(images, end):
    """Of one class on every image, noise and black, to the last bit."""
    model = Biased(ENDS[end]).eval()
    with torch.no_grad():
        assert len(torch.cat([model(images), model(1 - images), model(0 * images)]).unique(dim=0)) == 1, "or nothing is tested"
    assert not look_around(model, images, 0.03, 0).ignores


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_a_model_that_ignores_its_input_is_seen(images, noise, gradient):
    around = look_around(Constant(noise, gradient), images, 0.03, 0)
    assert around.ignores and around.randomized == (noise > 0)


def test_a_model_that_looks_at_nothing_but_rare_images_is_seen_to_look(images):
    bright = lambda x: torch.eye(5)[(x.flatten(1).amin(1) > 0.99).long()]  # noqa: E731
    assert not look_around(bright, images, 0.03, 0).ignores
