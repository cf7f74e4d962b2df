"""FMN beyond the laws: one search for every ε, what stopping early saves, the ball that follows the boundary."""

import pytest
import torch
from attack_cases import Counted, Linear, grey, labels_of, plain

from escrime import FMN, EscrimeError
from escrime.norms import NORMS

BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.fixture
def model():
    return Linear(2)


@BOTH_NORMS
def test_one_search_answers_every_epsilon(model, norm):
    """The sweep costs what one ε costs, each ε bears its share, and an image falls at ε exactly if its example is within."""
    images = grey(20, spread=0.5)
    labels, exact = labels_of(model, images), model.reach(images, norm)
    grid = exact.quantile(torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)).tolist()
    counted, attack = Counted(model), FMN(steps=40, norm=norm, tolerance=0)
    nearest = NORMS[norm].distance(attack(model, images, labels), images)
    outcomes = attack.sweep(plain(counted), images, labels, grid)
    assert counted.tally.forwards == 20 * 41
    for eps, outcome in zip(grid, outcomes):
        assert torch.equal(outcome.success, nearest <= eps) and 0 < outcome.success.sum() < 20
        assert torch.allclose(NORMS[norm].distance(outcome.adversarial, images), nearest.clamp_max(eps), rtol=1e-4)
        assert torch.equal(outcome.forwards, torch.full((20,), 41 / 3))


@BOTH_NORMS
def test_stop_within_leaves_at_the_first_example_that_is_near_enough(model, norm):
    images = grey(20, spread=0.5)
    labels, exact = labels_of(model, images), model.reach(images, norm)
    eps = float(exact.median())
    attacks = [FMN(eps, norm=norm, stop_within=stop, tolerance=0) for stop in (False, True)]
    full, early = (attack.sweep(plain(model), images, labels, [eps])[0] for attack in attacks)
    assert torch.equal(full.success, early.success) and 0 < early.success.sum() < 20
    assert (early.forwards[early.success] < 60).all() and (early.forwards[~early.success] == 101).all()
    assert (full.forwards == 101).all()
    nearest = [NORMS[norm].distance(o.adversarial, images)[early.success] for o in (full, early)]
    assert (nearest[0] <= nearest[1]).all(), "it gives up the rest of the search"


def test_stop_within_means_the_smallest_epsilon_of_a_sweep(model):
    """Otherwise an example at ε₂ would end the search for one at ε₁."""
    images = grey(20, spread=0.5)
    labels, exact = labels_of(model, images), model.reach(images, "linf")
    grid = [(exact * factor).tolist() for factor in (3.0, 1.05, 0.9)]
    outcomes = FMN(stop_within=True).sweep(model, images, labels, grid)
    assert [o.success.all().item() for o in outcomes] == [True, True, False]


@BOTH_NORMS
def test_an_example_that_the_box_makes_farther_is_found(norm):
    """Half of the pixels are at the face they would have to cross: only the others can move."""
    model = Linear(2)
    up = (model.weight[1] - model.weight[0]).detach().reshape(3, 5, 5) > 0
    images = torch.where(torch.arange(5) % 2 == 0, up.float(), torch.full((3, 5, 5), 0.5))[None]
    model.bias.data = -(model.weight @ images.flatten()).detach() + torch.tensor([3.0, 0.0])
    outcome = FMN(norm=norm).sweep(model, images, torch.tensor([0]), [None])[0]
    free = (model.weight[1] - model.weight[0]).detach().reshape(3, 5, 5)[:, :, 1::2].flatten()
    exact = 3 / float(free.norm(p=1 if norm == "linf" else 2))
    assert outcome.success.all() and float(NORMS[norm].distance(outcome.adversarial, images)) == pytest.approx(exact, rel=0.02)


@BOTH_NORMS
def test_clip_never_lengthens(norm):
    delta = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    radius = torch.tensor([0.1, 1.0, 1e9], dtype=torch.float64)
    before, after = (NORMS[norm].distance(d, torch.zeros_like(d)) for d in (delta, NORMS[norm].clip(delta, radius)))
    assert torch.allclose(after, torch.minimum(before, radius), rtol=1e-6)
    assert torch.equal(NORMS[norm].clip(delta, radius)[2], delta[2])


class Curved(torch.nn.Module):
    """Two layers, so that the boundary bends."""

    def __init__(self):
        super().__init__()
        gen = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(75, 40, generator=gen) / 5)
        self.second = torch.nn.Parameter(torch.randn(40, 4, generator=gen))

    def forward(self, x):
        return torch.sin(x.flatten(1) @ self.first) @ self.second


@pytest.mark.parametrize(("norm", "farther"), [("linf", 1.002), ("l2", 1.002), ("l1", 1.02)])
def test_an_image_leaves_when_it_comes_no_nearer(norm, farther):
    """At a fraction of the passes and the same distance; without a tolerance, or against noise, every step is made."""
    curved, images = Curved(), grey(40, spread=0.5)
    labels = labels_of(curved, images)
    near, spent = {}, {}
    for tolerance in (0, 0.005):
        outcome = FMN(norm=norm, steps=200, tolerance=tolerance).sweep(plain(curved), images, labels, [None])[0]
        assert outcome.success.all()
        near[tolerance], spent[tolerance] = NORMS[norm].distance(outcome.adversarial, images), outcome.forwards
    assert (spent[0] == 201).all() and (spent[0.005] >= 17).all() and spent[0.005].mean() < 201 / 2
    assert near[0.005].mean() <= farther * near[0].mean()
    noisy = FMN(norm=norm, steps=30, eot=2).sweep(plain(curved), images, labels, [None])[0]
    assert (noisy.forwards == 62).all()


def test_an_image_stays_while_its_example_is_just_beyond_epsilon():
    curved, images = Curved(), grey(40, spread=0.5)
    labels = labels_of(curved, images)
    near = NORMS["linf"].distance(FMN(steps=200, tolerance=0)(curved, images, labels), images)
    for factor, everything in ((0.97, True), (0.5, False)):
        eps = (near * factor).tolist()
        spent = FMN(steps=200, stop_within=True).sweep(plain(curved), images, labels, [eps])[0].forwards
        assert bool((spent == 201).all()) == everything


@pytest.mark.parametrize(("norm", "farther"), [("linf", 1.002), ("l2", 1.003), ("l1", 1.0)])
def test_half_the_steps_come_as_near_as_all_of_the_paper(norm, farther):
    """Eight steps against sixteen of algorithm 1, by the mean distance."""
    curved, images = Curved(), grey(40, spread=0.5)
    labels = labels_of(curved, images)
    near = NORMS[norm].distance(FMN(norm=norm, steps=8)(curved, images, labels), images)
    assert near.mean() <= farther * algorithm_1(curved, images, labels, NORMS[norm], 16).mean()


def algorithm_1(model, images, labels, geometry, steps):
    """The nearest distances (N,) that the paper's own search finds."""
    x, nearest = images, torch.full((len(images),), float("inf"), dtype=torch.float64)
    radius = nearest
    for k in range(steps):
        x = x.detach().requires_grad_()
        logits = model(x)
        margin = logits.gather(1, labels[:, None]).squeeze(1) - logits.scatter(1, labels[:, None], -1e9).amax(1)
        (gradient,) = torch.autograd.grad(margin.sum(), x)
        distance, success = geometry.distance(x.detach(), images), margin.detach() < 0
        nearest = torch.where(success, torch.minimum(nearest, distance), nearest)
        decay = (1 + torch.cos(torch.tensor(torch.pi * k / steps))) / 2
        gamma = 0.001 + 0.049 * decay
        linear = distance + margin.detach().abs() / geometry.dual(gradient)
        grown = torch.where(nearest.isinf(), linear, radius * (1 + gamma))
        radius = torch.where(success, torch.minimum(radius * (1 - gamma), nearest), grown)
        unit = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
        moved = x.detach() - (0.01 + 0.99 * decay) * unit
        x = (
            geometry.project(moved, images, radius.clamp_min(0))
            if geometry.sparse
            else images + geometry.clip(moved - images, radius)
        )
        x = x.clamp(0, 1)
    return nearest


def test_a_model_without_gradient_leaves_it_at_the_image():
    images = grey(3)
    flat = lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2)  # noqa: E731
    outcome = FMN(steps=5).sweep(flat, images, torch.zeros(3, dtype=torch.long), [0.1])[0]
    assert not outcome.success.any() and torch.equal(outcome.adversarial, images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FMN(steps=0), "steps = 0 is not a whole number from 1; give one, such as 100"),
        (lambda: FMN(step_size=0), "step_size = 0 is not a number above 0; give one, such as 2.0, in radii of the ball"),
        (lambda: FMN(gamma=0), "gamma = 0 is not a number above 0 and below 1; give one, such as 0.02, a share of the radius"),
        (lambda: FMN(gamma=1.0), "gamma = 1.0 is not a number above 0 and below 1"),
        (lambda: FMN(tolerance=-0.1), "tolerance = -0.1 is not a number from 0 and below 1; give one, such as 0.005"),
        (lambda: FMN(norm="l3"), "'l3' is unknown"),
        (lambda: FMN(8), "larger than the whole color range"),
        (lambda: FMN(eot=0), "eot = 0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()
