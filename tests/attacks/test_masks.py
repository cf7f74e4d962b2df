"""A mask: pixels outside of it stay to the last bit, whatever the attack, and inside the attack is what it is without one."""

from dataclasses import dataclass, replace

import numpy
import pytest
import torch
from attack_cases import ATTACKS, Linear, Rowwise, bound, core, grey, plain, scaled, succeeds

import escrime
from escrime import FGSM, FMN, EscrimeError, RayS, Square
from escrime.attacks import RandomPoints, SparseRS, Spatial
from escrime.attacks.core.base import Attack, Outcome
from escrime.attacks.core.masks import bounding_boxes, checked_mask
from escrime.norms import NORMS

EVERY = pytest.mark.parametrize("attack", [each for each in ATTACKS if not NORMS[each.norm].rendered], ids=repr)


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])  # none is the class that some attacks are to reach


def patchy(count, height, width, seed=0):
    """A mask per image: rectangles, single pixels, holes, everything."""
    mask = torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[0] = False
    mask[0, 0, 1:3, 2:4] = True
    mask[1] = False
    mask[1, 0, -1, -1] = True
    mask[2] = True
    mask[3::2, :, :1] = False
    return mask


@EVERY
def test_pixels_outside_stay_to_the_last_bit_and_those_inside_keep_the_budget(attack, network, images, labels):
    mask = patchy(9, 5, 5)
    sweep = scaled(attack, [0.02, 0.1])
    for eps, outcome in zip(sweep, attack.sweep(network.eval(), images, labels, sweep, mask=mask), strict=True):
        assert torch.equal(outcome.adversarial.where(mask, images), outcome.adversarial)
        assert NORMS[attack.norm].inside(outcome.adversarial, images, eps).all()
        if outcome.success is not None:
            assert succeeds(network, outcome.adversarial, labels, attack)[outcome.success].all()
    moved = attack(network, images, labels, mask=mask)
    assert torch.equal(moved.where(mask, images), moved) and not torch.equal(moved, images)
    assert NORMS[attack.norm].inside(moved, images, bound(attack, images)).all()


@EVERY
def test_a_mask_of_everything_is_none(attack, network, images, labels):
    """Also beside images whose masks hold less: an image's answer is its own."""
    plainly = attack.sweep(plain(network), images, labels, [attack.eps])[0]
    given = attack.sweep(plain(network), images, labels, [attack.eps], mask=torch.ones(5, 5))[0]
    assert torch.equal(plainly.adversarial, given.adversarial) and torch.equal(plainly.forwards, given.forwards)


@EVERY
def test_what_comes_of_an_image_depends_on_its_own_mask_only(attack):
    gen, model = torch.Generator().manual_seed(4), Rowwise()
    images, labels = torch.rand(12, 1, 4, 4, generator=gen), torch.randint(0, 3, (12,), generator=gen)
    mask = patchy(12, 4, 4)
    run = lambda rows, mask: attack(model, images[rows], labels[rows], ids=rows.tolist(), mask=mask)  # noqa: E731
    whole, without = run(torch.arange(12), mask), attack(model, images, labels, ids=list(range(12)))
    assert torch.equal(whole[2], without[2]), "its mask is true everywhere"
    for rows in (torch.arange(11, -1, -1), torch.tensor([5]), torch.tensor([0, 2])):
        assert torch.equal(run(rows, mask[rows]), whole[rows])


@pytest.mark.parametrize(
    "attack", [a for a in ATTACKS if not (isinstance(a, RandomPoints) or NORMS[a.norm].rendered)], ids=repr
)
def test_an_attack_that_finds_examples_finds_them_in_half_of_the_image(attack, linear, images):
    """On a linear model, where half of the pixels hold about half of the slope, so that nothing but the attack stands in the
    way."""
    labels = linear(images).argmax(1)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[:3] = True
    eps = {"linf": 0.6, "l2": 6.0, "l1": 30.0, "l0": 15, "patch": 5}[attack.norm]
    attack = replace(core(attack), eps=eps)
    if attack.target is not None:
        images, labels = images[labels != 3], labels[labels != 3]
    if isinstance(attack, (Square, SparseRS, RayS)):
        attack = replace(attack, queries=300)
    predicted = linear(attack(linear, images, labels, mask=mask)).argmax(1)
    won = predicted != labels if attack.target is None else predicted == attack.target
    assert won.float().mean() >= 0.5


def test_a_random_start_is_uniform_in_the_ball_of_the_masked_values():
    """Its length in l2 is that of a ball of as many dimensions: r^n is uniform, so that of 3 values it is often short."""
    count, n = 400, 3
    images, labels = torch.full((count, 1, 6, 6), 0.5), torch.zeros(count, dtype=torch.long)
    mask = torch.zeros(6, 6)
    mask[2, 1:4] = 1
    model = Rowwise((1, 6, 6))
    for norm, eps in (("l2", 0.3), ("linf", 0.3), ("l1", 0.3), ("l0", 2)):
        moved = RandomPoints(eps, draws=1, norm=norm, early_stop=False)(model, images, labels, mask=mask)
        delta = (moved - images).flatten(1).double()
        assert (delta != 0).any(0).sum() == n
        if norm == "l2":
            mean = (delta.norm(dim=1) / eps).pow(n).mean()
            assert abs(float(mean) - 0.5) < 0.06
        elif norm == "l0":
            assert (NORMS["l0"].distance(moved, images) == 2).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_nearest_example_within_a_mask_is_that_of_a_smaller_linear_model(norm):
    """The distance to the boundary of a linear model, by the values that may change: |shortfall| over their dual norm."""
    model, images = Linear(classes=2), grey(12, spread=0.02)
    labels = model(images).argmax(1)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[1:4, :4] = True
    weight, logits = model.weight.double().view(2, 3, 5, 5)[:, :, mask].flatten(1), model(images).double()
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    away = (weight[labels][:, None] - weight).norm(p=dual, dim=2)
    reach = ((logits.gather(1, labels[:, None]) - logits) / away).scatter(1, labels[:, None], torch.inf).amin(1)
    near = {"linf": reach < 0.4, "l2": reach < 1.0, "l1": reach < 0.4}[norm]  # where the box is not in the way
    assert near.sum() >= 4
    moved = FMN(norm=norm, steps=300)(model, images, labels, mask=mask)
    found = NORMS[norm].distance(moved, images)
    assert (model(moved).argmax(1) != labels)[near].all()
    assert ((found / reach)[near] > 0.999).all() and ((found / reach)[near] < 1.03).all()


def test_searches_propose_within_the_mask():
    """No query is spent on a change that the mask undoes: of a mask of few pixels every proposal moves some."""
    images, labels = torch.full((6, 3, 12, 12), 0.5), torch.zeros(6, dtype=torch.long)
    mask = torch.zeros(6, 1, 12, 12, dtype=torch.bool)
    mask[:, :, 7:10, 2:7] = True
    for attack in (
        SparseRS(4, queries=30),
        SparseRS(3, queries=30, norm="patch"),
        Square(0.1, queries=30),
        Square(0.5, queries=30, norm="l2"),
        Square(2.0, queries=30, norm="l1"),
    ):
        seen = []

        def model(x, seen=seen):
            seen.append((x != images[:1]).any(1).flatten(1).sum(1))
            return torch.zeros(len(x), 3)

        replace(attack, early_stop=False)(model, images, labels, mask=mask)
        moved = torch.cat(seen)
        assert (moved > 0).float().mean() > 0.95, attack


def test_the_rectangle_around_a_mask():
    mask = torch.zeros(3, 1, 6, 5, dtype=torch.bool)
    mask[0, 0, 2, 1] = mask[0, 0, 4, 3] = True
    mask[1] = True
    mask[2, 0, 5, 4] = True
    assert bounding_boxes(mask).tolist() == [[2, 1, 3, 3], [0, 0, 6, 5], [5, 4, 1, 1]]


def test_forms_of_a_mask():
    images, mask = torch.rand(4, 3, 5, 6), torch.rand(5, 6) < 0.5
    want = mask.expand(4, 1, 5, 6)
    for given in (
        mask,
        mask[None],
        mask[None, None],
        mask.float(),
        mask.to(torch.uint8),
        mask.numpy(),
        mask.tolist(),
        want.clone(),
    ):
        assert torch.equal(checked_mask(given, images), want)
    own = torch.rand(4, 1, 5, 6) < 0.7
    assert torch.equal(checked_mask(own.double(), images), own) and checked_mask(None, images) is None
    assert checked_mask(numpy.ones((5, 6)), images[:0]).shape == (0, 1, 5, 6)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((5, 6), 0.5), r"the mask holds 0.5, and a pixel may change or not.* mask > 0.5"),
        (torch.full((5, 6), 255, dtype=torch.uint8), "the mask holds 255"),
        (torch.full((5, 6), float("nan")), "the mask holds nan"),
        (torch.ones(6, 5), r"the mask has shape \(6, 5\) and the images \(4, 3, 5, 6\); give one of \(H, W\)"),
        (torch.ones(4, 5, 6), r"shape \(4, 5, 6\).* cannot be told from \(C, H, W\).* mask\[:, None\]"),
        (torch.ones(3, 5, 6), r"shape \(3, 5, 6\).* cannot be told from"),
        (torch.ones(4, 3, 5, 6), r"shape \(4, 3, 5, 6\)"),
        (torch.ones(3, 1, 5, 6), r"shape \(3, 1, 5, 6\)"),
        (torch.ones(30), r"shape \(30,\)"),
        (torch.zeros(5, 6), r"leaves image 0 no pixel to change \(4 of 4 images\)"),
        ("white", "the mask is a str; give one of"),
    ],
)
def test_other_masks_are_refused(mask, message, linear):
    with pytest.raises(EscrimeError, match=message):
        FGSM(0.1)(linear, torch.rand(4, 3, 5, 6), torch.zeros(4, dtype=torch.long), mask=mask)


@dataclass(frozen=True)
class Careless(Attack):
    """An attack of a user's that never heard of masks."""

    eps: float

    def _sweep(self, twin, inputs, budgets, wanted):
        spent = torch.zeros(len(inputs.images))
        moved = (inputs.images + 0.01).clamp(0, 1)
        return [Outcome(moved, spent, spent, torch.ones(len(spent), dtype=torch.bool)) for _ in budgets]


def test_an_attack_that_knows_no_mask_is_held_to_it(linear, images, labels):
    mask = torch.zeros(5, 5)
    mask[0] = 1
    (outcome,) = Careless(0.1).sweep(linear, images, labels, [0.1], mask=mask)
    assert torch.equal(outcome.adversarial[:, :, 1:], images[:, :, 1:]) and not torch.equal(outcome.adversarial, images)
    assert outcome.success is None, "what it saw succeed was another image"


def test_what_changes_the_whole_image_takes_no_mask(network, images, labels):
    with pytest.raises(EscrimeError, match="changes the whole image, so it takes no mask"):
        Spatial(1.0)(network, images, labels, mask=torch.ones(5, 5))
    with pytest.raises(EscrimeError, match="changes the whole image, so it takes no mask"):
        escrime.evaluate(network, (images, labels), Spatial(1.0), mask=torch.ones(5, 5))


def test_a_mask_that_numpy_turned_around_is_a_mask(images):
    turned = numpy.fliplr(numpy.eye(5, dtype=bool))
    assert torch.equal(checked_mask(turned, images), checked_mask(turned.copy(), images))


def test_the_verdict_says_which_pixels_could_change(images, labels):
    mask = torch.zeros(5, 5)
    mask[0] = 1
    found = escrime.evaluate(Linear(), (images, labels), FGSM(0.1), mask=mask, progress=False)
    assert "where only pixels of the mask may change, 20 % of the image" in found.verdicts[0].sentence
