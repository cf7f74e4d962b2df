"""Square Attack: the budget of queries, known optima, hidden gradients, the proposals of algorithms 2 and 3."""

import pytest
import torch
from torch import nn

from escrime import PGD, EscrimeError
from escrime.attacks.core.iterative import Rows
from escrime.attacks.core.predictions import CERTAIN
from escrime.attacks.square import HALVINGS, Square, _place, _side_of_proposal, bump, scheduled_sides
from escrime.norms import NORMS
from escrime.randomness import as_keys


class Rowwise(nn.Module):
    """A linear model that computes every row by itself, so that its logits do not depend on the batch."""

    def __init__(self, shape, classes=4, seed=0):
        super().__init__()
        gen = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, *shape, generator=gen))

    def forward(self, x):
        return torch.stack([torch.stack([(row * w).sum() for w in self.weight]) for row in x])


def labels_of(model, images):
    return model(images).argmax(1).detach()


def grey(count, shape=(3, 5, 5), seed=1):
    """Images far from 0 and 1, so that the box does not matter."""
    return 0.4 + 0.2 * torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def rows_of(images, eps, norm):
    n = len(images)
    return Rows(images, torch.zeros(n, dtype=torch.long), None, None, torch.full((n,), eps, dtype=torch.float64), NORMS[norm])


def boundary(linear, images, labels, norm):
    """The exact distance (N,) of each image to the nearest other class of a linear model without a box."""
    weight, logits = linear.weight.detach().double(), linear(images).detach().double()
    shortfalls = logits.gather(1, labels[:, None]) - logits
    dual = (weight[labels][:, None] - weight).norm(p=1 if norm == "linf" else 2, dim=2)
    return (shortfalls / dual).scatter(1, labels[:, None], float("inf")).amin(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_budget_is_exact_and_nothing_is_differentiated(linear, norm):
    images, seen = grey(9), []

    def scores(x):
        assert not torch.is_grad_enabled()
        seen.append(len(x))
        return linear(x).detach()

    labels = labels_of(linear, images)
    outcome = Square(0.02, queries=37, norm=norm, early_stop=False).sweep(scores, images, labels, [0.02])[0]
    assert (outcome.forwards == 37).all() and sum(seen) == 9 * 37 and (outcome.backwards == 0).all()
    seen.clear()
    eps = 0.3 if norm == "linf" else 2.0
    outcome = Square(eps, queries=37, norm=norm, eot=2).sweep(scores, images, labels, [eps])[0]
    assert (outcome.forwards <= 2 * 37 + 2 * CERTAIN).all() and outcome.forwards.sum() == sum(seen)
    assert (outcome.forwards < 2 * 37 + CERTAIN).any(), "what is certain leaves"
    assert (linear(outcome.adversarial).argmax(1) != labels)[outcome.success].all() and outcome.success.any()


def test_a_single_query_is_the_start(linear):
    images = grey(9)
    attack = Square(0.1, queries=1)
    moved = attack(linear, images, labels_of(linear, images))
    delta = moved - images
    assert torch.equal(delta.sign(), delta.sign()[:, :, :1].expand_as(delta)), "vertical stripes"
    assert torch.allclose(delta.abs(), torch.tensor(0.1)) and len(delta.sign()[:, :, 0].flatten(1).unique(dim=0)) == 9


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "above"), [("linf", 1.3), ("l2", 2.0)])
def test_known_optimum_on_a_linear_model(linear, norm, above):
    """Somewhat above the exact distance nearly every image falls, just below none does."""
    images = grey(40)
    labels = labels_of(linear, images)
    exact = boundary(linear, images, labels, norm)
    fooled = {}
    for factor in (0.999, above):
        eps = (exact * factor).tolist()
        fooled[factor] = Square(eps, queries=1500, norm=norm).sweep(linear, images, labels, [eps])[0].success
    assert not fooled[0.999].any() and fooled[above].float().mean() >= 0.9


def test_hidden_gradients_do_not_hide_the_model(linear):
    """Rounded logits have no gradient: PGD stays at its random start, the search does not notice."""

    class Rounded(nn.Module):
        def forward(self, x):
            return (linear(x) * 20).round() / 20

    images = grey(30)
    labels = labels_of(linear, images)
    eps = (boundary(linear, images, labels, "linf") * 1.4).tolist()
    wrong = lambda attack: (Rounded()(attack(Rounded(), images, labels)).argmax(1) != labels).float().mean()  # noqa: E731
    assert wrong(PGD(eps, steps=40)) < 0.2 and wrong(Square(eps, queries=500)) > 0.9


def test_jobs_at_different_proposals_share_a_batch(linear):
    """More jobs than a batch holds: late ones enter beside old ones, each with its own place in the schedule."""
    images = grey(100)
    labels = labels_of(linear, images)
    epsilons = [0.01, 0.02, 0.03, 0.05]
    attack = Square(0.01, queries=40)
    for eps, outcome in zip(epsilons, attack.sweep(linear, images, labels, epsilons)):
        alone = attack.sweep(linear, images, labels, [eps])[0]
        assert torch.equal(outcome.success, alone.success)
        assert torch.allclose(outcome.adversarial, alone.adversarial, atol=1e-6)


def test_schedule_of_the_paper():
    """p halves after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10 000 proposals, at any number of queries."""
    pixels = 2**10
    sides = scheduled_sides(1.0, "linf", pixels, pixels)
    assert sides == tuple(round(pixels * 2 ** (-k / 2)) for k in range(10))
    side = _side_of_proposal(10_000, sides, torch.device("cpu")).tolist()
    changes = [i for i in range(1, 10_000) if side[i] != side[i - 1]]
    assert changes == [i + 1 for i in HALVINGS] and HALVINGS == (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    assert _side_of_proposal(500, sides, torch.device("cpu")).tolist() == side[::20]
    assert _side_of_proposal(1, sides, torch.device("cpu")).tolist() == [pixels]


def test_sides_fit_into_the_image():
    assert scheduled_sides(0.8, "linf", 32, 32) == (29, 20, 14, 10, 7, 5, 4, 3, 2, 1)
    assert scheduled_sides(0.8, "l2", 32, 32) == (29, 21, 15, 11, 7, 5, 5, 3, 3, 3)
    for norm in ("linf", "l2"):
        for size in ((1, 1), (2, 3), (4, 4), (3, 50), (28, 28)):
            sides = scheduled_sides(1.0, norm, *size)
            assert min(sides) >= 1 and max(sides) <= min(size)


def test_squares_reach_every_corner_and_have_their_own_sides():
    position = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24], [0.5, 0.0]])
    square, down, right = _place(position, torch.tensor([2, 3, 1]), 6, 4)
    where = [set(map(tuple, one[0].nonzero().tolist())) for one in square]
    assert where[0] == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert where[1] == {(r, c) for r in (3, 4, 5) for c in (1, 2, 3)}
    assert where[2] == {(3, 0)} and down[2, 3] == 0 and right[2, 0] == 0


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 13)])
def test_a_proposal_in_linf_is_one_square_of_one_color(shape):
    images = torch.rand(50, *shape, generator=torch.Generator().manual_seed(0))
    rows, attack = rows_of(images, 0.1, "linf"), Square(0.1, queries=1000)
    state = attack.start(rows, as_keys([(i,) for i in range(50)]))
    start = state["best"] = state["x"]
    # Every image is at another place of the schedule.
    state["proposals"] = torch.arange(50) * 20
    side = _side_of_proposal(1000, scheduled_sides(0.8, "linf", *shape[1:]), images.device)[state["proposals"]]
    attack.step(state, None, rows)
    assert ((state["x"] == rows.lower) | (state["x"] == rows.upper)).all()
    for n in range(50):
        changed = (state["x"][n] != start[n]).any(0).nonzero()
        if len(changed):
            (top, left), (bottom, right) = changed.amin(0).tolist(), changed.amax(0).tolist()
            assert max(bottom - top, right - left) < side[n]
            high = state["x"][n, :, top : bottom + 1, left : right + 1] == rows.upper[n, :, top : bottom + 1, left : right + 1]
            assert torch.equal(high, high[:, :1, :1].expand_as(high))
    assert torch.equal(state["proposals"], torch.arange(50) * 20 + 1)


@pytest.mark.parametrize("part", ["start", "proposal"])
def test_in_half_of_the_squares_and_stripes_all_channels_have_one_sign(part):
    """Half of them on purpose, and a quarter of the others by chance."""
    images = torch.full((400, 3, 8, 8), 0.5)
    rows, attack = rows_of(images, 0.1, "linf"), Square(0.1, queries=1000, p_init=1.0)
    state = attack.start(rows, as_keys([(i,) for i in range(400)]))
    if part == "proposal":  # one that covers the image
        state["best"] = state["x"]
        attack.step(state, None, rows)
    up = state["x"] > 0.5
    one_sign = (up == up[:, :1]).all(1).float()
    assert one_sign.mean() == pytest.approx(0.5 + 0.5 / 4, abs=0.06) and up.float().mean() == pytest.approx(0.5, abs=0.06)


def test_bumps():
    """η* of the paper for a side of 5, whose halves are 2 and 3 rows high."""
    outer, ring, center = 1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1
    upper = torch.tensor([[outer, ring, ring, ring, outer], [outer, ring, center, ring, outer]])
    lower = -torch.cat([upper, upper[:1]])
    wanted = torch.cat([upper, lower])
    assert torch.allclose(bump(5), wanted / wanted.norm())
    for side in range(1, 30):
        assert bump(side).shape == (side, side) and bump(side).norm() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 13), (3, 2, 3)])
def test_l2_keeps_its_norm_and_moves_it_between_two_windows(shape):
    images, eps = grey(50, shape), 0.02
    rows, attack = rows_of(images, eps, "l2"), Square(eps, queries=1000, norm="l2")
    state = attack.start(rows, as_keys([(i,) for i in range(50)]))
    state["best"] = state["x"]
    state["proposals"] = torch.arange(50) * 20
    side = _side_of_proposal(1000, scheduled_sides(0.8, "l2", *shape[1:]), images.device)[state["proposals"]]
    for _ in range(3):
        state["best"] = state["x"]
        attack.step(state, None, rows)
        for x in (state["best"], state["x"]):
            assert NORMS["l2"].inside(x, images, eps).all() and (NORMS["l2"].distance(x, images) > 0.999 * eps).all()
        changed = ((state["x"] - state["best"]).abs() > 1e-5).any(1).flatten(1).sum(1)
        assert (changed <= 2 * side**2).all() and (changed > 0).float().mean() > 0.4


def test_l2_uses_what_the_box_took():
    """At the edge of the box the start loses norm; the search puts it to use elsewhere."""
    images = torch.where(torch.rand(20, 3, 10, 10, generator=torch.Generator().manual_seed(0)) < 0.5, 0.0, 1.0)
    model = Rowwise((3, 10, 10), 2)
    labels = labels_of(model, images)
    reach = [
        NORMS["l2"].distance(Square(1.0, queries=q, norm="l2", early_stop=False)(model, images, labels), images)
        for q in (1, 60)
    ]
    assert (reach[1] <= 1).all() and reach[0].mean() < 0.8 and reach[1].mean() > reach[0].mean() + 0.05


@pytest.mark.parametrize("loss", ["margin", "ce"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted(linear, loss, norm):
    images = grey(20)
    labels = labels_of(linear, images)
    targets, eps = (labels + 1) % 4, 0.15 if norm == "linf" else 2.0
    moved = Square(eps, queries=400, norm=norm, loss=loss)(linear, images, labels, targets=targets)
    assert (linear(moved).argmax(1) == targets).float().mean() > 0.9
    assert (
        linear(Square(eps, queries=400, norm=norm, target=2)(linear, images[labels != 2], labels[labels != 2])).argmax(1) == 2
    ).any()


def test_restarts_touch_only_survivors(linear):
    images = grey(30)
    labels = labels_of(linear, images)
    one, three = (Square(0.14, queries=15, restarts=r).sweep(linear.forward, images, labels, [0.14])[0] for r in (1, 3))
    fooled = one.success
    assert fooled.any() and not three.success.all() and three.success.sum() > fooled.sum(), "this test needs all three kinds"
    assert torch.equal(three.forwards[fooled], one.forwards[fooled])
    assert torch.equal(three.adversarial[fooled], one.adversarial[fooled])
    assert (three.forwards[~three.success] == 3 * 15).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 9, 14), (3, 14, 3), (3, 1, 1), (2, 1, 20)])
def test_any_image_shape(shape, norm):
    model, images = Rowwise(shape), torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    moved = Square(0.3, queries=30, norm=norm, early_stop=False)(model, images, labels_of(model, images))
    assert NORMS[norm].inside(moved, images, 0.3).all() and (moved != images).flatten(1).any(1).all()


def test_no_budget_leaves_the_image(linear):
    images = grey(4)
    for norm in ("linf", "l2"):
        assert torch.equal(Square(0, queries=5, norm=norm)(linear, images, labels_of(linear, images)), images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Square(0.1, queries=0), "queries = 0 is not a whole number from 1; .* the start alone takes one"),
        (lambda: Square(0.1, queries=1e3), "queries = 1000.0 is not a whole number"),
        (lambda: Square(0.1, restarts=0), "restarts = 0 is not a whole number from 1; give one, the first start counted too"),
        (
            lambda: Square(0.1, p_init=0),
            "p_init = 0 is not a number above 0 and at most 1; give one, such as 0.8, a share of the pixels",
        ),
        (lambda: Square(0.1, p_init=1.5), "p_init = 1.5 is not a number above 0 and at most 1"),
        (lambda: Square(0.1, loss="cw"), "'cw' is unknown"),
        (lambda: Square(0.1, norm="l3"), "'l3' is unknown"),
        (lambda: Square(0.1, eot=0), "eot = 0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()
