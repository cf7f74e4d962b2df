"""DeepFool beyond the laws: its formula, its overshoot, the classes it considers and what they cost."""

import pytest
import torch
from attack_cases import Counted, Linear, grey, labels_of, plain
from torch import nn

from escrime import DeepFool, EscrimeError
from escrime.models.fast.twin import Twin
from escrime.norms import NORMS

BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


@BOTH_NORMS
@pytest.mark.parametrize("overshoot", [0.02, 0.3])
def test_one_step_on_a_linear_model(norm, overshoot):
    """x + (1 + η)·f/‖w‖²·w, in l_inf x + (1 + η)·f/‖w‖₁·sign(w), towards the nearest class; one look more sees it succeed."""
    model, images = Linear(4), grey(12)
    labels = labels_of(model, images)
    outcome = DeepFool(norm=norm, overshoot=overshoot).sweep(plain(model), images, labels, [None])[0]
    reached = labels_of(model, outcome.adversarial)
    w = (model.weight[reached] - model.weight[labels]).detach()
    logits = model(images).detach()
    f = (logits.gather(1, labels[:, None]) - logits.gather(1, reached[:, None])).squeeze(1)
    direction = w.sign() / w.norm(p=1, dim=1, keepdim=True) if norm == "linf" else w / w.norm(dim=1, keepdim=True).square()
    expected = images + ((1 + overshoot) * f[:, None] * direction).reshape(images.shape)
    assert torch.allclose(outcome.adversarial, expected, atol=1e-5) and (outcome.forwards == 2).all()


def test_it_costs_a_backward_pass_for_each_class_considered():
    model, images = Linear(6), grey(8)
    labels = labels_of(model, images)
    for candidates, classes in ((2, 3), (9, 6)):
        counted = Counted(model)
        outcome = DeepFool(candidates=candidates).sweep(plain(counted), images, labels, [None])[0]
        assert torch.equal(outcome.backwards, classes * outcome.forwards)
        assert counted.tally.backwards == outcome.backwards.sum()
    targeted = DeepFool().sweep(plain(model), images, labels, [None], targets=(labels + 1) % 6)[0]
    assert torch.equal(targeted.backwards, 2 * targeted.forwards)


def test_more_candidates_find_a_nearer_class():
    """The class with the second largest logit need not be the nearest: a steep third one may be."""

    def model(x):
        mean = x.flatten(1).mean(1)
        return torch.stack([0 * mean, mean - 0.9, 20 * (mean - 0.6)], dim=1)

    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    nearest = [
        float(NORMS["linf"].distance(DeepFool(norm="linf", candidates=n)(model, images, labels), images)) for n in (1, 2)
    ]
    assert nearest == pytest.approx([0.4 * 1.02, 0.1 * 1.02], rel=1e-3)


def test_a_target_has_its_own_boundary():
    model, images = Linear(4), grey(12)
    labels = labels_of(model, images)
    for shift in (1, 2, 3):
        targets = (labels + shift) % 4
        assert torch.equal(labels_of(model, DeepFool()(model, images, labels, targets=targets)), targets)


@BOTH_NORMS
@pytest.mark.parametrize("scale", [1, 1e12])
def test_a_model_without_gradient_is_no_accident(norm, scale):
    images = grey(3)
    flat = lambda x: scale * torch.tensor([[1.0, 0.0, -1.0]]) + 0 * x.detach().flatten(1).sum(1, keepdim=True)  # noqa: E731
    outcome = DeepFool(steps=5, norm=norm).sweep(flat, images, torch.zeros(3, dtype=torch.long), [0.1])[0]
    assert not outcome.success.any() and torch.equal(outcome.adversarial, images)


def test_on_a_randomized_model_it_takes_all_its_steps():
    """One draw in four is wrong: stopping at the first would be luck."""
    model, images = Linear(4), grey(12)
    noisy = lambda x: model(x) * (1 - 2 * (torch.rand(len(x), 1) < 0.25).float())  # noqa: E731
    outcome = DeepFool(steps=5).against_noise(2).sweep(noisy, images, labels_of(model, images), [0.1])[0]
    moved = NORMS["linf"].distance(outcome.adversarial, images) > 0
    assert (outcome.forwards[moved] == 2 * 6).all() and (outcome.forwards == 12).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepFool(steps=0), "steps = 0 is not a whole number from 1; give one, such as 50"),
        (lambda: DeepFool(overshoot=-0.1), "overshoot = -0.1 is not a number from 0; .* stops short of the boundary"),
        (lambda: DeepFool(overshoot=float("nan")), "overshoot = nan is not a finite number"),
        (lambda: DeepFool(candidates=0), "candidates = 0 is no number of other classes to consider"),
        (lambda: DeepFool(norm="l3"), "'l3' is unknown"),
        (lambda: DeepFool(norm="l1"), "DeepFool .* not in l1; use FMN"),
        (lambda: DeepFool(-1), "negative"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()


@BOTH_NORMS
def test_a_coarse_copy_does_not_end_it_at_the_copys_boundary(norm):
    """As with TensorFloat-32 on a GPU: what the copy takes for a success may lie just before the model's own boundary."""
    model, coarse, images = Linear(4), Linear(4), grey(60)
    coarse.weight.data = coarse.weight.data.to(torch.bfloat16).float()
    labels = labels_of(model, images)
    outcome = DeepFool(norm=norm, steps=50).sweep(Twin(model, copy=coarse), images, labels, [None])[0]
    assert (labels_of(model, outcome.adversarial) != labels).all()


def test_one_logit_has_its_boundary_at_zero():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    x = torch.full((2, 3, 2, 2), 0.5)
    with torch.no_grad():
        network[1].bias.zero_()
        network[1].bias.copy_(0.01 - network[1](x.flatten(1))[0])  # a little above zero: the second class
    found = DeepFool(0.1)(network, x, torch.ones(2, dtype=torch.long))
    assert (network(found) < 0).all() and (found - x).abs().amax() <= 0.1
