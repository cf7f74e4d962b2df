"""Whatever a model does: an evaluation ends with a verdict, nobody's generators move, and what is climbed leads somewhere."""

import random

import numpy as np
import pytest
import rich.style  # noqa: F401  it draws from `random` where it is imported, once
import torch
from torch import nn

from escrime import PGD, Effort, evaluate
from escrime.attacks.adaptive.surrogate import eight_bit
from escrime.evaluation.profile import ProbeBudget, profile

QUICK = Effort(images=24, steps=8, queries=40, draws=40, doublings=1)
EPS = 0.02


class Around(nn.Module):
    def __init__(self, network, run):
        super().__init__()
        self.network, self.run = network, run

    def forward(self, x):
        return self.run(self.network, x)


@pytest.fixture
def few(data):
    return eight_bit(data[0][:40]), data[1][:40]


@pytest.fixture
def known(linear, few):
    images = few[0]
    return images, linear(images).argmax(1)


def looked(model, known, seed=0):
    return profile(model, *known, ProbeBudget(EPS), seed)


def fails_differentiated(network, x):
    if torch.is_grad_enabled():
        raise ValueError("no gradients here")
    return network(x)


def labels_by_numpy(network, x):
    return torch.from_numpy(np.eye(4, dtype=np.float32)[network(x).detach().numpy().argmax(1)])


def not_everywhere(network, x):
    return torch.where(x[:, :1, 0, 0] > 0.9, torch.nan, network(x))


def outer_codes(network, x):
    codes = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [-1, 1, 1, 1]])
    return ((network(x) > 0).float() * 2 - 1) @ codes.T


STRANGE = {
    "float64": lambda network, x: network(x).double(),
    "integers": lambda network, x: (1000 * network(x)).long(),
    "comparisons": lambda network, x: network(x) > 0,
    "labels through numpy": labels_by_numpy,
    "output codes": outer_codes,
    "softmax, cold": lambda network, x: (300 * network(x)).softmax(1),
    "tanh": lambda network, x: torch.tanh(300 * network(x)),
    "raises when differentiated": fails_differentiated,
    "inference mode": lambda network, x: torch.inference_mode()(network)(x),
    "NaN for some": not_everywhere,
    "impossible classes": lambda network, x: network(x).index_fill(1, torch.tensor([3]), float("-inf")),
    "one logit": lambda network, x: network(x)[:, :1],
    "noise only": lambda network, x: torch.rand(len(x), 4),
}


@pytest.mark.parametrize("run", STRANGE.values(), ids=STRANGE)
def test_every_model_ends_with_a_verdict_and_none_is_believed_far_above_the_truth(linear, known, run):
    model, (images, labels) = Around(linear, run), known
    labels = labels.clamp(max=1) if run is STRANGE["one logit"] else labels
    before = state(model)
    verdict = evaluate(model, (images, labels), PGD(EPS, steps=8), checks=QUICK).verdicts[0]
    assert state(model) == before
    if verdict.believe:
        truth = evaluate(linear, (images, labels), PGD(EPS, steps=40), checks=QUICK).verdicts[0].accuracy
        assert run in (STRANGE["float64"], STRANGE["impossible classes"]) and verdict.accuracy <= truth + 0.05


def state(model):
    form = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    grads = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), [p.grad for p in model.parameters()]
    draws = torch.random.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()
    return form, grads, draws, (torch.is_grad_enabled, torch.from_numpy, torch._C._InferenceMode)


@pytest.mark.parametrize("fails", [False, True])
def test_a_plain_callable_is_looked_at_without_a_trace_whatever_it_raises(linear, known, fails):
    """With noise of all three generators; alone no image is asked, for a callable may drop a dimension of 1."""
    sizes = []

    def classify(x):
        sizes.append(len(x))
        torch.rand(1), np.random.rand(), random.random()
        if fails and x.requires_grad:
            raise ValueError("no gradients here")
        return linear(x)

    before = state(linear)
    found = looked(classify, known)
    assert found.blind == fails and state(linear) == before


def test_a_single_logit_is_a_binary_classifier(linear, known):
    one = Around(linear, STRANGE["one logit"])
    found = looked(one, (known[0], (linear(known[0])[:, 0] > 0).long()))
    assert found.classes == 2 and found.gradients is not None and not found.failure and found.true


def test_an_honest_model_is_climbed_as_it_is(linear, known):
    found = looked(linear, known)
    assert found.settings == {} and found.surrogate is found.twin and found.true and not found.others


def test_what_fails_to_be_differentiated_is_said(linear, known):
    def run(network, x):
        if x.grad_fn is not None:
            raise ValueError("no gradients here\nat all")
        return network(x)

    found = looked(Around(linear, run), known)
    assert found.failure == "ValueError: no gradients here" and not found.blind, "it is not told that somebody differentiates"


def test_the_same_surface_is_chosen_again(linear, known):
    model = Around(linear, lambda network, x: network(torch.round(x * 12) / 12))
    one, other = looked(model, known), looked(model, known)
    assert one.settings == other.settings and one.settings["through"] and not one.blind
    moved = [PGD(EPS, steps=5)(found.surrogate, *known) for found in (one, other)]
    assert torch.equal(*moved)


class LiesNearBy(nn.Module):
    """Where the two largest logits come close, the gradient is that of another network."""

    def __init__(self, network, decoy):
        super().__init__()
        self.network, self.decoy = network, decoy

    def forward(self, x):
        z, w = self.network(x), self.decoy(x)
        first, second = z.topk(2, 1).values.unbind(1)
        return torch.where((first - second < 0.3)[:, None], z.detach() + w - w.detach(), z)


def test_a_gradient_that_lies_only_where_attacks_end_is_false(linear, known):
    decoy = type(linear)(torch.randn(4, 48, generator=torch.Generator().manual_seed(9)))
    found = looked(LiesNearBy(linear, decoy), known)
    assert found.gradients.false and found.settings["through"]
    assert not looked(linear, known).settings
