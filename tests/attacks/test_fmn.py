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
    counted, attack = Counted(model), FMN(steps=40, norm=norm)
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
    attacks = [FMN(eps, norm=norm, stop_within=stop) for stop in (False, True)]
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


def test_a_model_without_gradient_leaves_it_at_the_image():
    images = grey(3)
    flat = lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2)  # noqa: E731
    outcome = FMN(steps=5).sweep(flat, images, torch.zeros(3, dtype=torch.long), [0.1])[0]
    assert not outcome.success.any() and torch.equal(outcome.adversarial, images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FMN(steps=0), "steps = 0 is not a whole number from 1; give one, such as 100"),
        (lambda: FMN(step_size=0), "step_size = 0 is not a number above 0; give one, such as 1.0, a length in l2"),
        (lambda: FMN(gamma=0), "gamma = 0 is not a number above 0 and below 1; give one, such as 0.05, a share of the radius"),
        (lambda: FMN(gamma=1.0), "gamma = 1.0 is not a number above 0 and below 1"),
        (lambda: FMN(norm="l3"), "'l3' is unknown"),
        (lambda: FMN(8), "larger than the whole color range"),
        (lambda: FMN(eot=0), "eot = 0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()
