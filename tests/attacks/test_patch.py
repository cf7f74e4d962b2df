"""Patches: on a linear model the best one is known, for every window the sum of what its pixels can gain."""

import itertools

import pytest
import torch
from attack_cases import Linear, grey

from escrime import FGSM, PGD, EscrimeError
from escrime.attacks import Patch
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
    """A model whose slope at the image points at one corner, and that can be fooled in another only."""

    class Elsewhere(torch.nn.Module):
        def forward(self, x):
            bait, real = x[:, 0, :2, :2].mean((1, 2)), x[:, 0, 4:, 4:].mean((1, 2))
            wrong = 0.1 * bait + 0.01 * real + 5 * (real - 0.8).clamp_min(0)
            return torch.stack([torch.full_like(wrong, 0.5), wrong], dim=1)

    images, labels = torch.full((8, 1, 6, 6), 0.4), torch.zeros(8, dtype=torch.long)
    one, more = (Patch(2, steps=10, restarts=n).sweep(Elsewhere(), images, labels, [2])[0].success for n in (1, 60))
    assert not one.any() and more.all()


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
