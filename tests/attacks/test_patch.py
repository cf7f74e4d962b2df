"""Patches: on a linear model the best one is known, for every window the sum of what its pixels can gain."""

import itertools
from dataclasses import replace

import pytest
import torch
from attack_cases import Linear, Rowwise, grey, labels_of, plain, succeeds

from escrime import FGSM, PGD, AutoAttack, EscrimeError
from escrime.attacks import Patch, RandomPatch, SparseRS
from escrime.norms import norm
from escrime.norms.patch import window_sums


def best_by_hand(model, images, labels, side, mask=None):
    """The lowest margin of a model of two classes that any patch can reach, by trying every window, float64 (N,)."""
    weight = (model.weight[labels] - model.weight[1 - labels]).detach().double().view_as(images)
    logits = model(images).detach().double()
    margin = logits.gather(1, labels[:, None])[:, 0] - logits.gather(1, 1 - labels[:, None])[:, 0]
    gain = (weight * images - weight.clamp_max(0)).sum(1)  # down to the corner of the color box where w·x is least
    gain = gain if mask is None else gain * mask
    height, width = images.shape[2:]
    places = itertools.product(range(height - side + 1), range(width - side + 1))
    return margin - torch.stack([gain[:, r : r + side, c : c + side].sum((1, 2)) for r, c in places]).amax(0)


def margins(model, moved, labels):
    logits = model(moved).double()
    return logits.gather(1, labels[:, None])[:, 0] - logits.gather(1, 1 - labels[:, None])[:, 0]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_the_best_patch_of_a_linear_model_is_found(side, masked):
    model, images = Linear(classes=2, shape=(3, 6, 6)), grey(10, (3, 6, 6), spread=0.6)
    labels, mask = model(images).argmax(1), None
    if masked:
        mask = torch.zeros(6, 6)
        mask[1:5, 2:] = 1
    want = best_by_hand(model, images, labels, side, mask)
    for attack in (Patch(side, steps=3, restarts=1, early_stop=False), FGSM(side, norm="patch")):
        moved = attack(model, images, labels, mask=mask)
        assert norm("patch").inside(moved, images, side).all()
        assert torch.allclose(margins(model, moved, labels), want, atol=1e-4), attack.name


def test_it_looks_at_other_places_where_the_first_fails():
    images, labels = torch.full((8, 1, 6, 6), 0.4), torch.zeros(8, dtype=torch.long)
    one, more = (Patch(2, steps=10, restarts=n).sweep(Elsewhere(), images, labels, [2])[0].success for n in (1, 60))
    assert not one.any() and more.all()


class Elsewhere(torch.nn.Module):
    """A model whose slope at the image points at one corner, and that can be fooled in another only."""

    def forward(self, x):
        bait, real = x[:, 0, :2, :2].mean((1, 2)), x[:, 0, 4:, 4:].mean((1, 2))
        wrong = 0.1 * bait + 0.01 * real + 5 * (real - 0.8).clamp_min(0)
        return torch.stack([torch.full_like(wrong, 0.5), wrong], dim=1)


def test_a_patch_is_measured_by_the_square_around_it():
    images = torch.zeros(4, 3, 6, 5)
    moved = images.clone()
    moved[0, 0, 1, 1] = moved[0, 2, 3, 2] = 1
    moved[1, :, :, 0] = 1
    moved[2, 0, 5, 4] = 1e-30
    own = norm("patch")
    assert own.distance(moved, images).tolist() == [3, 6, 1, 0] and own.diameter(images) == 6
    with pytest.raises(EscrimeError, match="ε = 2.5 is no side of a patch in whole pixels"):
        Patch(2.5)


def test_windows_of_other_sizes_at_once():
    score = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    sums = window_sums(score, torch.tensor([0.0, 2.0, 9.0]).reshape(3, 1, 1, 1))
    assert (sums[0][:4, :5] == 0).all()
    by_hand = score[1].unfold(0, 2, 1).unfold(1, 2, 1).sum((2, 3)).double()
    assert torch.allclose(sums[1, :3, :4], by_hand) and sums[1, 3].isinf().all() and sums[1, :, 4].isinf().all()
    assert sums[2, 0, 0] == pytest.approx(float(score[2].sum())) and sums[2].isfinite().sum() == 1


def test_larger_patches_fool_more_and_the_steps_of_pgd_help(network, images):
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    network.eval()
    found = [o.success for o in Patch(1, steps=20).sweep(network, images, labels, [1, 2, 3])]
    assert (found[1] | ~found[0]).all() and (found[2] | ~found[1]).all()
    single = PGD(1, steps=1, norm="patch").sweep(network, images, labels, [1])[0].success
    assert found[0].sum() >= single.sum()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("side", [2, 3])
def test_a_search_by_scores_comes_near_the_best_patch(side, masked):
    """Of what the best patch of a linear model gains, most; and no query asks about what was asked just before."""
    model, images = Linear(classes=2, shape=(3, 6, 6)), grey(30, (3, 6, 6), spread=0.6)
    labels, mask, asked = labels_of(model, images), None, []
    if masked:
        mask = torch.zeros(6, 6)
        mask[1:5, 2:] = 1

    def watched(x):
        asked.append(x.clone())
        return model(x)

    moved = SparseRS(side, 200, "patch", early_stop=False)(watched, images, labels, mask=mask)
    before, want = margins(model, images, labels), best_by_hand(model, images, labels, side, mask)
    gained = (before - margins(model, moved, labels)) / (before - want)
    assert (gained <= 1 + 1e-5).all() and gained.mean() > 0.7
    same = [float((one == other).flatten(1).all(1).float().mean()) for one, other in zip(asked, asked[1:])]
    assert sum(same) / len(same) < 0.05
    places = [{str((x[0] != images[0]).any(0).nonzero()[0].tolist()) for x in part} for part in (asked[:40], asked[40:])]
    assert masked or len(places[0]) > len(places[1]) > 1, "it looks around before it goes into details"


def test_it_moves_its_patch_and_keeps_the_colors():
    """Towards a place where the same colors do more: nothing but a move can get there, as other colors do worse."""

    class Here(torch.nn.Module):
        def forward(self, x):
            places = torch.arange(10, dtype=torch.float32).view(1, 1, 1, 10)
            like = (x[:, :1] - x[:, 1:2]).clamp_min(0)  # one color only
            return torch.stack([torch.full((len(x),), 14.0), (like * places).sum((1, 2, 3))], dim=1)

    images, labels = torch.zeros(20, 2, 10, 10), torch.zeros(20, dtype=torch.long)
    found = SparseRS(1, 400, "patch", early_stop=False).sweep(plain(Here()), images, labels, [1])[0].adversarial
    assert (found[:, 0, :, 9].sum(1) == 1).float().mean() >= 0.9 and (found[:, 1] == 0).all()


def test_in_the_cascade_scores_find_what_hidden_gradients_do_not():
    class Hidden(torch.nn.Module):
        """Without slope: it looks at colors in three levels only."""

        def __init__(self):
            super().__init__()
            self.inner = Rowwise((1, 5, 5), classes=3)

        def forward(self, x):
            return self.inner((2 * x).round() / 2)

    model, images = Hidden(), torch.rand(24, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    labels, attack = labels_of(model, images), AutoAttack(2, norm="patch", steps=5, queries=200)
    assert [stage.name for stage in attack.stages(3, False)] == ["Patch", "SparseRS"]
    without, whole = (each.sweep(model, images, labels, [2])[0] for each in (replace(attack, queries=0), attack))
    assert whole.success.sum() >= without.success.sum() + 4 and (whole.success | ~without.success).all()
    assert torch.equal(whole.success, succeeds(model, whole.adversarial, labels, attack))


def test_who_has_no_proposals_in_a_norm_says_so():
    with pytest.raises(EscrimeError, match="SparseRS has no proposals in linf; use one of l0, patch"):
        SparseRS(1, norm="linf")


def test_a_patch_for_anywhere_is_judged_where_nobody_chose():
    """Colors that work at every place are found, at a place that the seed decides; a trick that works at one place is not."""

    class Trick(torch.nn.Module):
        def forward(self, x):
            green, corner = (x[:, 1] - x[:, 0]).sum((1, 2)), x[:, 0, :3, :3].sum((1, 2))
            return torch.stack([torch.full_like(green, 8.5), green + 3 * corner * (corner > 8)], dim=1)

    images, labels = torch.zeros(40, 2, 9, 9), torch.zeros(40, dtype=torch.long)
    attack = RandomPatch(3, steps=20, angle=0, smallest=1)
    moved = attack(Trick(), images, labels)
    window = (moved != images).any(1)
    assert (moved[:, 1].flatten(1).sum(1) == 9).all() and (window.flatten(1).sum(1) == 9).all() and not moved[:, 0].any()
    places = {tuple(rows.nonzero()[0].tolist()) for rows in window}
    assert len(places) > 15 and (Trick()(moved).argmax(1) == 1).all()
    other = attack(Trick(), images, labels, seed=1)
    assert not torch.equal(other, moved) and torch.equal(attack(Trick(), images, labels), moved)
    assert Patch(3)(Trick(), images, labels)[:, :, :3, :3].any(), "who may choose takes what there is"


def test_who_cannot_choose_the_place_does_less(network, images):
    labels = network.eval()(images).argmax(1)
    left = [
        (network(attack(network, images, labels)).argmax(1) == labels).float().mean()
        for attack in (Patch(2), RandomPatch(2, angle=0, smallest=1), RandomPatch(1))
    ]
    assert left[0] <= left[1] <= left[2] and left[0] < left[2]
