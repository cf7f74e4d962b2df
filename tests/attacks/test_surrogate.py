"""A surrogate predicts as its model does, with another slope."""

import numpy as np
import pytest
import torch
from torch import nn

from escrime import FGSM
from escrime.attacks.adaptive.surrogate import Surrogate, eight_bit
from escrime.attacks.core.gradients import loss_gradient
from escrime.attacks.core.losses import ce
from escrime.models.fast.twin import Twin
from escrime.randomness import as_keys


class Saturated(nn.Module):
    def __init__(self, network, factor):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x):
        return self.factor * self.network(x)


class Jagged(nn.Module):
    """Class 0 falls with the mean of the image, under ripples so steep that most single gradients point elsewhere."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack([0.5 - mean + 0.01 * torch.sin(400 * mean), torch.zeros_like(mean)], dim=1)


class OncePerBatch(nn.Module):
    """Noise drawn once for the whole batch, as by one random resize of all images."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        noise = torch.randn(())
        self.calls.append((len(x), float(noise)))
        return torch.stack([x.flatten(1).sum(1) * noise, torch.zeros(len(x))], dim=1)


def test_a_scale_brings_the_gradient_back_and_keeps_the_decision(linear, images):
    model = Saturated(linear, 1e4)
    labels = model(images).argmax(1)
    surrogate = Surrogate(model, scale=1e4)
    assert torch.equal(surrogate(images).argmax(1), labels)
    assert (model(FGSM(0.1)(model, images, labels)).argmax(1) == labels).all(), "cross-entropy has no gradient left here"
    found = FGSM(0.1)(Twin(surrogate), images, labels)
    expected = FGSM(0.1)(linear, images, labels)
    assert torch.equal(found, expected) and (model(found).argmax(1) != labels).any()


def test_smoothing_finds_the_slope_of_a_jagged_surface():
    images = torch.full((32, 3, 4, 4), 0.3) + torch.linspace(0, 0.1, 32).reshape(-1, 1, 1, 1)
    keys, model = as_keys([("test", row) for row in range(32)]), Jagged()
    surrogate = Surrogate(model, smooth=0.1, samples=32)
    first = lambda logits: logits[:, 0]  # noqa: E731
    output, _, slope = loss_gradient(surrogate, images, first, keys)
    plain, _, single = loss_gradient(model, images, first, keys)
    assert torch.equal(output, plain), "the output is the model's own"
    assert (single.mean((1, 2, 3)) > 0).float().mean() > 0.3 and (slope.mean((1, 2, 3)) < 0).float().mean() > 0.9


def test_smoothing_starts_from_the_image_whatever_the_model_writes_into_it(linear, images):
    keys, loss = as_keys([("test", row) for row in range(len(images))]), lambda logits: logits.square().sum(1)
    in_place, apart = (lambda x: linear(x.sub_(0.5))), (lambda x: linear(x - 0.5))
    found = [loss_gradient(Surrogate(model, smooth=0.1), images, loss, keys) for model in (in_place, apart)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_draws_of_one_image_are_made_apart_where_a_batch_shares_its_noise():
    model = OncePerBatch()
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(3, dtype=torch.long)
    keys = as_keys([("test", row) for row in range(3)])
    loss = lambda logits: ce(logits, labels.repeat_interleave(4), None)  # noqa: E731
    loss_gradient(Surrogate(model, apart=True), images, loss, keys, draws=4)
    assert [rows for rows, _ in model.calls] == [3] * 4 and len({noise for _, noise in model.calls}) == 4


def test_rows_come_back_in_their_order():
    class Echo(nn.Module):
        def forward(self, x):
            return x.flatten(1)

    images = torch.arange(12.0).reshape(12, 1, 1, 1).expand(12, 1, 1, 2)
    assert torch.equal(Surrogate(Echo(), apart=True)(images), images.flatten(1))


class OnGridOnly(nn.Module):
    """Looks at images that are exactly what an 8-bit file holds; at any other the slope is turned."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x):
        levels = torch.arange(256).float() / 255
        on = torch.isin(x.detach(), levels).flatten(1).all(1, keepdim=True)
        self.seen.append(on.all().item())
        logits = self.network(x)
        return torch.where(on, logits, -logits)


def test_the_nearest_8_bit_image_is_that_of_a_file():
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    files = (images.numpy() * np.float32(255)).round().astype(np.uint8)
    assert torch.equal(eight_bit(images), torch.from_numpy(files).float() / 255)
    assert torch.equal(eight_bit(eight_bit(images)), eight_bit(images))


@pytest.mark.parametrize("smooth", [0.0, 0.02])
def test_on_the_grid_it_asks_about_files_to_the_last_bit_and_goes_straight_through(linear, images, smooth):
    """Also about the neighbors whose slopes are averaged: off the grid this model leads the other way."""
    model, keys = OnGridOnly(linear), as_keys([("test", row) for row in range(len(images))])
    first = lambda logits: logits[:, 0]  # noqa: E731
    output, _, found = loss_gradient(Surrogate(model, grid=True, smooth=smooth), images, first, keys)
    assert all(model.seen) and torch.equal(output, linear(eight_bit(images)).detach())
    _, _, true = loss_gradient(linear, images, first, keys)
    assert torch.allclose(found, true, atol=1e-5)
    _, _, naive = loss_gradient(model, images, first, keys)
    assert torch.allclose(naive, -true, atol=1e-5), "or the case would prove nothing"


def test_a_plain_callable_has_no_inside_to_go_through(linear, images):
    surrogate = Surrogate(lambda x: linear(x.round()), through=True, whole=True)
    assert not surrogate.through and torch.equal(surrogate(images), linear(images.round()))


def test_it_counts_its_passes(linear):
    assert [Surrogate(linear, smooth=smooth, samples=5).copies for smooth in (0, 0.1)] == [1, 6]
