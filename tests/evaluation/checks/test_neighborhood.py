"""What is seen around the images: noise, a model that does not look, one that looks at the grid, or at who asks."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from escrime import PredictionAveraging
from escrime.attacks.adaptive.surrogate import eight_bit
from escrime.evaluation.checks.neighborhood import Neighborhood, look_around, neighborhood_findings

REACH = 0.03


class Telling(nn.Module):
    """A network, and what `tell` makes of image and logits."""

    def __init__(self, network, tell):
        super().__init__()
        self.network, self.tell = network, tell

    def forward(self, x):
        return self.tell(x, self.network(x))


@pytest.fixture
def images(data):
    return eight_bit(data[0][:24])


def around(model, images, seed=0) -> Neighborhood:
    return look_around(model, images, REACH, seed)


def levels(x):
    """How far each image (N,) lies from the 8-bit grid, in levels."""
    return ((x * 255) - (x * 255).round()).detach().abs().flatten(1).amax(1)


def on_grid(x):
    return levels(x) < 0.01


def network(k=4, side=4, channels=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 32), nn.ReLU(), nn.Linear(32, k)).eval()


def test_an_honest_network_shows_nothing_of_any_size():
    for seed, (c, side, k, n) in enumerate([(1, 1, 2, 1), (3, 1, 2, 5), (1, 8, 1, 3), (3, 8, 10, 24), (1, 8, 10, 1)]):
        x = eight_bit(torch.rand(n, c, side, side, generator=torch.Generator().manual_seed(seed)))
        for after in (lambda z: z, lambda z: 1000 * z, lambda z: -z.square()):
            assert around(nn.Sequential(network(k, side, c, seed), Then(after)), x, seed) == Neighborhood()
    x = eight_bit(torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    for after in (lambda z: z.log_softmax(1), lambda z: z.softmax(1), lambda z: F.one_hot(z.argmax(1), 10).float()):
        assert around(nn.Sequential(network(10, 8), Then(after)), x) == Neighborhood()
    assert neighborhood_findings(Neighborhood(), 24) == []


class Then(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.after = after

    def forward(self, z):
        return self.after(z)


NOISE = {
    "everywhere": lambda x, z: z + torch.rand(z.shape),
    "of numpy": lambda x, z: z + torch.from_numpy(np.random.rand(*z.shape)).float(),
    "of Python": lambda x, z: z + random.random(),
    "on a few images": lambda x, z: z + (x[:, :1, 0, 0] > 0.8) * torch.rand(z.shape),
    "off the grid": lambda x, z: z + ~on_grid(x)[:, None] * torch.rand(z.shape),
    "at corners only": lambda x, z: (
        z + (((x * 255) % 1 - 0.65).abs() < 0.02).flatten(1).any(1, keepdim=True) * torch.rand(z.shape)
    ),
}


@pytest.mark.parametrize("tell", NOISE.values(), ids=NOISE)
def test_noise_is_found_wherever_it_acts(linear, images, tell):
    found = around(Telling(linear, tell), images)
    assert found.randomized and found.places
    assert ("the images" in found.places) == (tell not in (NOISE["off the grid"], NOISE["at corners only"]))
    assert not found.mode and not found.off_grid, "noise is no other function, and no leap"


def test_noise_of_the_library_and_of_a_generator_of_its_own(linear, images):
    own = torch.Generator().manual_seed(0)
    for model in (
        PredictionAveraging(linear, eps_max=0.1, samples=2),
        Telling(linear, lambda x, z: z + torch.rand(z.shape, generator=own)),
    ):
        found = around(model, images)
        assert found.randomized and not found.mode and not found.ignores


def test_logits_that_are_no_numbers_are_no_noise(linear, images):
    found = around(Telling(linear, lambda x, z: torch.where(x[:, :1, 0, 0] > 0.5, torch.nan, z)), images)
    assert not found.randomized
    assert not around(Telling(linear, lambda x, z: z * torch.nan), images).ignores, "nothing can be said of such a model"


def test_who_does_not_look_at_the_image_is_told_with_noise_and_without(images):
    silent = [
        lambda x: torch.eye(4)[[1] * len(x)],
        lambda x: torch.rand(len(x), 4),
        lambda x: 0 * x.mean((1, 2, 3))[:, None] + torch.arange(4.0),
    ]
    for tell in silent:
        found = around(Telling(nn.Identity(), lambda x, _, tell=tell: tell(x)), images)
        assert found.ignores and [f.id for f in neighborhood_findings(found, len(images))] == ["input-ignored"]
    looks = [
        lambda x: torch.rand(len(x), 4) + x[:, 0, 0, :4],
        lambda x: F.one_hot((x.mean((1, 2, 3)) > 0.5).long(), 4).float(),
        lambda x: torch.eye(4)[[1] * len(x)] + 1e-3 * x[:, 0, 0, :1],
    ]
    for tell in looks:
        assert not around(Telling(nn.Identity(), lambda x, _, tell=tell: tell(x)), images).ignores


def inside_inference_mode(x, z):
    with torch.inference_mode():
        return z.clone()


def switched_on(x, z):
    with torch.enable_grad():
        return z.clone()


DECOYS = {
    "is_grad_enabled": lambda x, z: z.roll(1, 1) if torch.is_grad_enabled() else z,
    "requires_grad": lambda x, z: -z if x.requires_grad else z,
    "grad_fn": lambda x, z: z * 0.5 if x.grad_fn is not None else z,
    "requires_grad of the logits": lambda x, z: z + z.requires_grad,
}
PLAIN = {
    "inference mode inside": inside_inference_mode,
    "switched on inside": switched_on,
    "rounding": lambda x, z: z + 1e-6 * torch.is_grad_enabled(),
    "in place": lambda x, z: x.sub_(0.5).flatten(1)[:, :4] * 1,
}


@pytest.mark.parametrize("tell", DECOYS.values(), ids=DECOYS)
def test_who_shows_another_function_while_somebody_differentiates(linear, images, tell):
    found = around(Telling(linear, tell), images)
    assert found.mode
    assert [(f.id, f.severity) for f in neighborhood_findings(found, 24)] == [("gradient-mode", "alarm")]


def test_who_shows_another_function_while_the_weights_are_frozen(linear, images):
    model = Telling(linear, lambda x, z: z if linear.weight.requires_grad else z.roll(1, 1))
    assert around(model, images).mode and linear.weight.requires_grad
    linear.requires_grad_(False)
    assert not around(model, images).mode, "who gives it so asks it so"
    assert not linear.weight.requires_grad


@pytest.mark.parametrize("tell", PLAIN.values(), ids=PLAIN)
def test_who_shows_everybody_the_same(linear, images, tell):
    before = images.clone()
    assert around(Telling(linear, tell), images) == Neighborhood() and torch.equal(images, before)


def test_under_inference_mode_it_sees_the_same(linear, images):
    for tell in (DECOYS["requires_grad"], PLAIN["rounding"], NOISE["off the grid"]):
        expected = around(Telling(linear, tell), images)
        with torch.inference_mode():
            assert around(Telling(linear, tell), images.clone()) == expected


@pytest.fixture
def snapping(linear, images):
    """Off the grid, the logits are those of the nearest of the images."""

    def tell(x, z):
        nearest = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
        return torch.where(on_grid(x)[:, None], z, linear(images)[nearest].roll(1, 1))

    return Telling(linear, tell)


def test_leaps_off_the_grid(snapping, linear, images):
    found = around(snapping, images)
    assert found.off_grid > 0.5 and not found.randomized
    (finding,) = neighborhood_findings(found, len(images))
    assert finding.id == "off-grid" and finding.severity == "alarm" and finding.evidence["share"] == round(found.off_grid, 4)
    rounding = Telling(linear, lambda x, z: linear(eight_bit(x)))
    assert around(rounding, images).off_grid == 0, "rounding to the nearest file is no leap"


def test_images_that_lie_off_the_grid_are_no_leap(linear):
    assert around(linear, torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(3))) == Neighborhood()


class Leaving(nn.Module):
    """Raises after it has drawn, in train mode."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        torch.rand(3), np.random.rand(3), random.random()
        if self.calls > 3:
            raise ValueError("mine")
        return x[:, 0, 0, :4] * self.weight


def test_an_error_of_the_model_leaves_no_trace(images):
    model = Leaving().train()
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with pytest.raises(ValueError, match="mine"):
        around(model, images)
    after = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert model.training and model.calls == 0 and model.weight.requires_grad and torch.is_grad_enabled()


def test_what_is_seen_does_not_hang_on_the_number_of_images(snapping, linear, images):
    for model in (snapping, Telling(linear, DECOYS["grad_fn"]), Telling(linear, NOISE["off the grid"]), linear):
        whole, few = around(model, images), around(model, images[:2])
        assert (whole.randomized, whole.mode, whole.ignores, whole.off_grid > 0) == (
            few.randomized, few.mode, few.ignores, few.off_grid > 0,
        )  # fmt: skip


def test_who_knows_one_answer_per_image_off_the_grid(linear, images):
    """The nearest of the images, and its own logits: no random step changes them, and none leaps."""

    def tell(x, z):
        return torch.where(on_grid(x)[:, None], z, linear(images)[torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)])

    assert look_around(Telling(linear, tell), images, 0.005, seed=0).off_grid > 0.9
    everywhere = Telling(linear, lambda x, z: linear(images)[torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)])
    assert look_around(everywhere, images, 0.005, seed=0).off_grid == 0, "it is no matter of the grid"


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_noise_that_labels_hide_is_found_where_they_change(linear, images, noise):
    """Labels are the same however often an image is asked about, unless it lies where the noise decides."""

    class Labels(nn.Module):
        def forward(self, x):
            return F.one_hot(linear(x + noise * torch.randn_like(x)).argmax(1), 4).float()

    found = around(Labels(), images)
    assert found.randomized is (noise > 0)
    assert found.places == (("points where the prediction changes",) if noise else ())
