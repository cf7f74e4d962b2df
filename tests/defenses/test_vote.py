"""The majority vote: its answer is the count, its gradient that of the mean probability."""

import pytest
import torch
from torch import nn

from escrime import FGSM, PGD, EscrimeError, MajorityVote, evaluate
from escrime.randomness import row_keys

KEYS = [(0, i) for i in range(6)]


class Scaled(nn.Module):
    """Linear logits of any size."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.register_buffer("weight", torch.randn(5, 12, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return self.scale * ((x.flatten(1) - 0.5) @ self.weight.T.to(x.dtype))


class ByCopy(nn.Module):
    """Logits that depend on the copy alone, one row of `table` each."""

    def __init__(self, table):
        super().__init__()
        self.table = torch.tensor(table)

    def forward(self, x):
        return self.table.repeat_interleave(len(x) // len(self.table), dim=0)


@pytest.fixture
def images():
    return torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("samples", [1, 7, 64])
def test_the_answer_is_the_count(images, samples):
    model = Scaled(2.0)
    vote = MajorityVote(model, 0.4, samples)
    with row_keys(KEYS):
        said = torch.stack([model(copy).argmax(1) for copy in vote.noisy_copies(images)])
    with row_keys(KEYS):
        share = vote(images).softmax(dim=1)
    votes = nn.functional.one_hot(said, 5).sum(0)
    top = votes.gather(1, share.argmax(1, keepdim=True)).squeeze(1)
    assert torch.equal(top, votes.amax(1))
    assert samples < 64 or (votes.amax(1) < samples).any(), "every vote is unanimous: the test shows nothing"
    # One more vote, split as the mean probability is.
    rest = share * (samples + 1) - votes
    assert rest.min() > -1e-4 and torch.allclose(rest.sum(1), torch.ones(6), atol=1e-4)


def test_a_narrow_majority_wins_over_any_confidence():
    """Three copies lean to class 0; two are certain of class 1: PPA's averages say 1, the vote says 0."""
    table = [[0.1, 0.0], [0.1, 0.0], [0.1, 0.0], [0.0, 90.0], [0.0, 90.0]]
    assert MajorityVote(ByCopy(table), 0.1, 5)(torch.rand(1, 3, 2, 2)).argmax() == 0


def test_the_mean_probability_breaks_ties():
    assert MajorityVote(ByCopy([[0.1, 0.0], [0.0, 9.0]]), 0.1, 2)(torch.rand(1, 3, 2, 2)).argmax() == 1


def test_noise_fills_the_ball_no_copy_is_clean_and_none_is_clipped():
    images = torch.tensor([0.0, 1.0]).repeat(6)[None].reshape(1, 3, 2, 2)
    copies = MajorityVote(Scaled(1.0), "8/255", 500).noisy_copies(images)
    noise = (copies - images) * 255 / 8
    assert copies.shape == (500, 1, 3, 2, 2) and (noise.abs().amax(dim=(1, 2, 3, 4)) > 0).all()
    assert noise.abs().max() <= 1 + 1e-4 and copies.min() < 0 and copies.max() > 1
    assert abs(noise.mean()) < 0.03 and abs(noise.var() - 1 / 3) < 0.02  # 6,000 numbers: 4 standard errors are 0.03, 0.015


def test_extreme_logits_stay_finite(images):
    """A class without votes whose probability underflows still has a logit, and a gradient."""
    x = images.clone().requires_grad_(True)
    logits = MajorityVote(Scaled(1e4), 0.1, 8)(x)
    logits.sum().backward()
    assert logits.isfinite().all() and x.grad.isfinite().all()


def test_the_gradient_is_that_of_the_mean_probability(images):
    """Against autograd of log mean softmax, in float64, over the very same copies."""
    vote = MajorityVote(Scaled(2.0), 0.3, 16)
    with row_keys(KEYS):
        noise = vote.noisy_copies(images).double() - images.double()
    weights = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    x = images.double().requires_grad_(True)
    mean = torch.stack([vote.undefended(x + delta).softmax(1) for delta in noise]).mean(0)
    (mean.log() * weights).sum().backward()
    wanted = x.grad

    x = images.clone().requires_grad_(True)
    with row_keys(KEYS):
        (vote(x) * weights.float()).sum().backward()
    assert wanted.abs().max() > 0.1 and torch.allclose(x.grad.double(), wanted, atol=1e-4)


def test_one_image_one_answer(images):
    vote = MajorityVote(Scaled(1.0), 0.3, 9)
    with row_keys(KEYS):
        whole = vote(images)
    with row_keys(KEYS[2:3]):
        assert torch.allclose(vote(images[2:3]), whole[2:3], atol=1e-5)
    assert not torch.equal(vote(images), vote(images))  # outside an evaluation the noise is fresh


@pytest.mark.slow
def test_an_adaptive_attack_sees_through_the_staircase(images):
    """At ε where the transferred attack fools the network, the attack through the vote fools the vote."""
    model = Scaled(4.0)
    vote = MajorityVote(model, 0.1, 15)
    labels = model(images).argmax(1)
    records = evaluate({"m": vote}, (images, labels), [FGSM("0/255"), PGD(0.25, steps=10)], draws=2).records
    assert set(records.defense) == {"vote"}
    accuracy = records.groupby(["attack", "threat", "eps"])["correct"].mean()
    assert accuracy["FGSM", "adaptive", 0.0] > 0.8
    assert accuracy["PGD", "adaptive", 0.25] <= min(0.4, accuracy["PGD", "transfer", 0.25] + 0.01)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((0.1, 0), "samples = 0 is no number of copies; give a whole number from 1"),
        ((0.1, 2.5), "whole number"),
        ((2, 4), "color range"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(EscrimeError, match=said):
        MajorityVote(Scaled(1.0), *settings)
