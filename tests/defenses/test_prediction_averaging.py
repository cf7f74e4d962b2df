"""PPA against the paper's formula in float64, and as a differentiable, honest classifier."""

import pytest
import torch
from torch import nn

from escrime import FGSM, PGD, EscrimeError, MajorityVote, PredictionAveraging, evaluate
from escrime.randomness import row_keys


class Scaled(nn.Module):
    """Logits of any size, to provoke overflow."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.register_buffer("weight", torch.randn(5, 12, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return self.scale * (x.flatten(1) @ self.weight.T.to(x.dtype))


@pytest.fixture
def images():
    return torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(1))


KEYS = [(0, i) for i in range(6)]


@pytest.mark.parametrize("samples", [1, 2, 16])
def test_formula_in_float64(images, samples):
    """P(k|x) = Σᵢ e^{z_k(x+δᵢ)} / Σⱼ Σᵢ e^{z_j(x+δᵢ)}, summed here as it is printed."""
    model = Scaled(2.0)
    ppa = PredictionAveraging(model, 0.2, samples)
    with row_keys(KEYS):
        copies = ppa.noisy_copies(images).double()
    with row_keys(KEYS):
        measured = ppa(images).softmax(dim=1)
    summed = sum(model(copy).exp() for copy in copies)
    assert torch.allclose(measured.double(), summed / summed.sum(1, keepdim=True), atol=1e-6)


def test_noise_is_in_the_ball_and_the_first_copy_is_clean(images):
    copies = PredictionAveraging(Scaled(1.0), "8/255", 64).noisy_copies(images)
    assert copies.shape == (64, 6, 3, 2, 2) and torch.equal(copies[0], images)
    radius = (copies[1:] - images).abs()
    assert radius.max() <= 8 / 255 + 1e-7 and radius.max() > 0.95 * 8 / 255


def test_one_sample_is_the_undefended_model(images):
    model = Scaled(1.0)
    assert torch.equal(PredictionAveraging(model, 0.3, 1)(images), model(images))


def test_large_logits_do_not_overflow(images):
    logits = PredictionAveraging(Scaled(1e4), 0.1, 8)(images)
    assert logits.isfinite().all() and logits.max() > 1e3


def test_a_confident_copy_dominates_the_sum_but_not_the_mean_of_softmaxes():
    """Two copies say class 0 mildly, one says class 1 with large logits: the two averages disagree."""

    class ByCopy(nn.Module):
        def forward(self, x):
            table = torch.tensor([[2.0, 0.0], [2.0, 0.0], [40.0, 41.0]])
            return table.repeat_interleave(len(x) // 3, dim=0)

    image = torch.rand(1, 3, 2, 2)
    assert PredictionAveraging(ByCopy(), 0.1, 3)(image).argmax() == 1
    assert PredictionAveraging(ByCopy(), 0.1, 3, average="probabilities")(image).argmax() == 0


def test_one_image_one_answer(images):
    ppa = PredictionAveraging(Scaled(1.0), 0.3, 4)
    with row_keys(KEYS):
        whole = ppa(images)
    with row_keys(KEYS[2:3]):
        assert torch.allclose(ppa(images[2:3]), whole[2:3], atol=1e-6)


@pytest.mark.parametrize("inner", [PredictionAveraging, MajorityVote])
@pytest.mark.parametrize("outer", [PredictionAveraging, MajorityVote])
def test_a_defense_of_a_defense_has_noise_for_every_copy(images, inner, outer):
    model, labels = outer(inner(Scaled(1.0), 0.3, 4), 0.2, 3), Scaled(1.0)(images).argmax(1)
    assert model.copies == 12
    with row_keys(KEYS):
        whole = model(images)
    with row_keys(KEYS[2:3]):
        assert torch.allclose(model(images[2:3]), whole[2:3], atol=1e-6)
    assert PGD(0.1, steps=2)(model, images, labels).shape == images.shape
    assert len(evaluate(model, (images, labels), FGSM(0.1), checks=False, draws=2).records)


def test_the_copies_of_a_copy_differ(images):
    """Each outer copy is averaged over noise of its own: the same for all would leave the outer average noisier."""
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append(x)
            return Scaled(1.0)(x)

    with row_keys(KEYS):
        PredictionAveraging(PredictionAveraging(Watched(), 0.3, 2), 0.0, 3)(images)
    noise = (seen[0].unflatten(0, (2, 3, 6))[1] - images).flatten(2)
    assert len(noise.flatten(0, 1).unique(dim=0)) == 18


def test_outside_an_evaluation_the_noise_is_fresh(images):
    ppa = PredictionAveraging(Scaled(1.0), 0.3, 4)
    assert not torch.equal(ppa(images), ppa(images))


def test_gradient_flows_through_every_copy(images):
    x = images.clone().requires_grad_(True)
    PredictionAveraging(Scaled(1.0), 0.3, 4)(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((0.1, 0), "samples = 0 is no number of copies; give a whole number from 1"),
        ((2, 4), "color range"),
        ((0.1, 4, "mean"), "average 'mean' is unknown; use one of exponentials, probabilities"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(EscrimeError, match=said):
        PredictionAveraging(Scaled(1.0), *settings)
