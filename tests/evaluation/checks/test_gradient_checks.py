"""The checks of a model's gradients: what they notice, and what they leave alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from escrime import APGD, FGSM, PGD, Effort, evaluate
from escrime.attacks.adaptive.surrogate import Surrogate
from escrime.evaluation.checks.gradients import gradient_findings, measure_gradients, surrogate_settings

QUICK = Effort(images=40, steps=20, queries=100, draws=50, doublings=1)


class Behind(nn.Module):
    """A network behind a change of its input."""

    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x):
        return self.network(self.change(x))


class Contrast(nn.Module):
    """Multiplies by the contrast, whose gradient at an image of one color is NaN, while the logits are fine."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x - 0.5) * (x.flatten(1).var(1).sqrt().reshape(-1, 1, 1, 1) + 1))


@pytest.fixture
def network():
    """Linear layers and ReLU on 4×4 images, without biases: on an image that is all black it is silent."""
    gen = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4, bias=False)).eval()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=gen) / 4
    return net


@pytest.fixture
def images():
    """Half of the pixels are 0 or 1."""
    return (2 * torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1)) - 0.5).clamp(0, 1)


def findings(model, images):
    measured = measure_gradients(model, images, model(images).argmax(1), 0.025)
    settings = surrogate_settings(measured)
    return settings, {finding.id: finding for finding in gradient_findings(measured)}


@pytest.mark.parametrize("only_bounds", [False, True])
def test_a_clamp_is_noted_and_gone_around_without_alarm(network, images, only_bounds):
    """Images of zeros and ones only have no gradient at all behind a clamp, and still nothing is wrong with the model."""
    images = images.round() if only_bounds else images
    settings, found = findings(Behind(network, lambda x: x.clamp(0, 1)), images)
    assert settings == {"through": True} and list(found) == ["gradient-at-bounds"]
    note = found["gradient-at-bounds"]
    assert note.severity == "note" and note.evidence["affected"] == len(images)
    assert findings(network, images)[0] == {} and list(findings(network, images)[1]) == ["gradients"]


def test_a_gradient_that_is_missing_everywhere_is_no_matter_of_bounds(network, images):
    for change in (torch.detach, lambda x: (x * 8).round() / 8, lambda x: (x.clamp(0, 1) * 255).round() / 255):
        settings, found = findings(Behind(network, change), images)
        assert settings == {"through": True} and list(found) == ["gradient-zero"]


def test_a_clamp_does_not_flatter_the_model(network, images):
    """The clamp does nothing to images, so both models fall alike."""
    clamped, labels = Behind(network, lambda x: x.clamp(0, 1)), network(images).argmax(1)
    attacks = [FGSM(0.05), PGD(0.05, steps=10), APGD(0.05, steps=10)]
    plain, behind = (evaluate(model, (images, labels), attacks, checks=QUICK) for model in (network, clamped))
    assert behind.records["correct"].tolist() == plain.records["correct"].tolist() and not behind.alarms
    naive = clamped(PGD(0.05, steps=10)(clamped, images, labels)).argmax(1) == labels
    assert naive.float().mean() > behind.verdicts[0].accuracy + 0.1, "or the case would prove nothing"
    assert behind.verdicts[0].believe


def test_a_gradient_that_is_not_finite_is_an_alarm_and_no_end_of_the_evaluation(network, images):
    images[5] = 0
    model = Contrast(network)
    labels = model(images).argmax(1)
    assert model(images).isfinite().all()
    settings, found = findings(model, images)
    assert found["gradient-not-finite"].severity == "alarm" and found["gradient-not-finite"].evidence["affected"] == 1
    result = evaluate(model, (images, labels), [FGSM(0.05), PGD(0.05, steps=5)], checks=QUICK)
    assert "gradient-not-finite" in {finding.id for finding in result.alarms}
    assert len(result.records) and 0 < result.verdicts[0].accuracy < 1


def test_it_measures_the_same_under_inference_mode(network, images):
    labels = network(images).argmax(1)
    expected = measure_gradients(network, images, labels, 0.025)
    with torch.inference_mode():
        found = measure_gradients(network, images.clone(), labels.clone(), 0.025)
    for name, value in vars(expected).items():
        assert torch.equal(value, getattr(found, name)), name


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Steep(nn.Module):
    """Normalization with a small standard deviation, and the bends that come with it."""

    def forward(self, x):
        return (x - 0.5) / 0.1


class Prototypes(nn.Module):
    """Minus the squared distance to a few images."""

    def __init__(self, classes, pixels):
        super().__init__()
        self.images = nn.Parameter(torch.rand(classes, pixels))

    def forward(self, x):
        return -(x.flatten(1)[:, None] - self.images).square().sum(2)


def linear(c, side, k):
    return nn.Sequential(nn.Flatten(), nn.Linear(c * side * side, k))


def dense(c, side, k, between=nn.ReLU, depth=1, last=nn.Identity):
    inner = [layer for _ in range(depth - 1) for layer in (nn.Linear(48, 48), between())]
    return nn.Sequential(nn.Flatten(), nn.Linear(c * side * side, 48), between(), *inner, nn.Linear(48, k), last())


def pooled(c, side, k):
    """Max-pooling ties wherever the image is of one color."""
    conv = nn.Sequential(nn.Conv2d(c, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(conv, nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(k))


def normalized(c, side, k):
    net = nn.Sequential(Steep(), nn.Conv2d(c, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten(), nn.LazyLinear(k))
    net(torch.rand(32, c, side, side))
    return net


HONEST: dict[str, Callable] = {
    "linear": linear,
    "ReLU": dense,
    "GELU": lambda *size: dense(*size, between=nn.GELU, depth=2),
    "tanh": lambda *size: dense(*size, between=nn.Tanh, depth=2),
    "deep": lambda *size: dense(*size, depth=4),
    "× 30": lambda *size: dense(*size, last=lambda: Scaled(30)),
    "× 0.001": lambda *size: dense(*size, last=lambda: Scaled(0.001)),
    "log-softmax": lambda *size: dense(*size, last=lambda: nn.LogSoftmax(1)),
    "softmax": lambda *size: dense(*size, last=lambda: nn.Softmax(1)),
    "prototypes": lambda c, side, k: Prototypes(k, c * side * side),
    "max-pooling": pooled,
    "steep normalization": normalized,
}
PICTURES: dict[str, Callable] = {
    "8-bit noise": lambda x: (x * 255).round() / 255,
    "zeros and ones": lambda x: x.round(),
    "black but for a spot": lambda x: F.pad(x[:, :, :2, :2], [0, x.shape[3] - 2, 0, x.shape[2] - 2]) if x.shape[3] > 2 else x,
    "nearly one color": lambda x: torch.where(torch.arange(x[0].numel()).view_as(x[0]) == 0, x, torch.full_like(x, 0.5)),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("build", HONEST.values(), ids=HONEST)
def test_no_honest_network_raises_an_alarm(build, picture):
    """Of any size, for any number of images, at any ε: what is said of a gradient must not hang on a kink or a tie."""
    sizes = [(1, 8, 10, 16), (3, 12, 5, 8), (3, 6, 2, 1), (1, 8, 10, 2), (1, 1, 2, 1)]
    for number, (c, side, k, n) in enumerate(sizes):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            net, x = build(c, side, k).eval(), picture(torch.rand(n, c, side, side))
            net(x)  # draws the weights of layers that take any size
        measured = measure_gradients(net, x, net(x).argmax(1), (0.001, 0.008, 0.05)[number % 3], seed=number)
        alarms = [finding.message for finding in gradient_findings(measured) if finding.severity == "alarm"]
        assert not alarms, (c, side, k, n)


def halved(x):
    """Half of the pixels have no gradient."""
    return torch.cat([x[:, :, :2].detach(), x[:, :, 2:]], 2)


def brightness_outside(x):
    """Luma through numpy, chroma in torch."""
    luma = x.mean(1, keepdim=True)
    return x - luma + torch.from_numpy(luma.detach().numpy().copy())


def one_channel(x):
    return torch.cat([x[:, :2], x[:, 2:].detach()], 1)


def blurred(x):
    """The value of the image, the gradient of its blur."""
    blur = F.avg_pool2d(x, 3, 1, 1)
    return blur + (x - blur).detach()


class Projecting(torch.autograd.Function):
    """A backward that keeps the part of the gradient along one pattern: it is true along itself."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        stripes = torch.ones_like(gradient[:1])
        stripes[..., ::2] = -1
        stripes = stripes / stripes.norm()
        return (gradient * stripes).flatten(1).sum(1).reshape(-1, 1, 1, 1) * stripes


LACKING = {
    "half of the pixels": halved,
    "brightness": brightness_outside,
    "a channel": one_channel,
    "what a blur removes": blurred,
    "all but a projection": Projecting.apply,
    "half of the pixels, behind a clamp": lambda x: halved(x.clamp(0, 1)),
}


@pytest.mark.parametrize("count", [40, 2])
@pytest.mark.parametrize("change", LACKING.values(), ids=LACKING)
def test_a_gradient_that_lacks_a_component_is_false(network, images, change, count):
    settings, found = findings(Behind(network, change), images[:count])
    assert found["gradient-false"].severity == "alarm" and settings["through"]
    assert found["gradient-false"].evidence["median unexplained"] > 0.05


class Astray(torch.autograd.Function):
    """The image; where `at` holds of a value, the gradient is `false` to it."""

    @staticmethod
    def forward(ctx, x, at, false):
        ctx.at, ctx.false = at(x), false
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.where(ctx.at, ctx.false(gradient), gradient), None, None


def bounds(x):
    return (x == 0) | (x == 1)


def levels(x):
    return (255 * x - (255 * x).round()).abs() < 1e-4


def reversed_sign(gradient):
    return -gradient


def chance(gradient):
    return gradient.roll(7, 1) * torch.linspace(-3, 3, gradient[0].numel()).reshape(gradient.shape[1:]).sin()


@pytest.mark.parametrize("false", [reversed_sign, chance])
@pytest.mark.parametrize("at", [bounds, levels])
def test_a_gradient_that_is_false_exactly_where_images_lie_is_found(network, images, at, false):
    images = (255 * images).round() / 255
    settings, found = findings(Behind(network, lambda x: Astray.apply(x, at, false)), images)
    assert found["gradient-false"].severity == "alarm" and settings["through"]
    assert list(findings(network, images)[1]) == ["gradients"]


def test_a_gradient_that_all_but_vanishes_at_bounds_is_none_there(network, images):
    measured = findings(Behind(network, lambda x: Astray.apply(x, bounds, lambda g: -1e-3 * g)), images)
    assert measured[0] == {"through": True} and "gradient-at-bounds" in measured[1]


class Decoy(nn.Module):
    """Hides pixels at the bounds from whoever differentiates, and shows another slope there; no function of its own."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        at = bounds(x.detach())
        slope = torch.linspace(-1, 1, x[0].numel()).reshape(x.shape[1:]) * (x - x.detach()) * at
        return self.network(torch.where(at, x.detach(), x)) + slope.flatten(1).sum(1, keepdim=True) * torch.linspace(-9, 9, 4)


def test_a_model_that_lies_at_the_bounds_is_not_believed_above_the_truth(network):
    gen = torch.Generator().manual_seed(3)
    images = (3 * torch.rand(60, 3, 4, 4, generator=gen) - 1).clamp(0, 1)
    data = images, network(images).argmax(1)
    lying, honest = (
        evaluate(model, data, PGD(0.06, steps=10), checks=QUICK).verdicts[0] for model in (Decoy(network), network)
    )
    assert honest.believe and not lying.believe and "gradient-false" in lying.sentence
    assert lying.accuracy <= honest.accuracy + 0.1


KINKS = {
    "max": lambda: nn.MaxPool2d(2),
    "overlapping max": lambda: nn.MaxPool2d(3, 1),
    "average": lambda: nn.AvgPool2d(2),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pool", KINKS.values(), ids=KINKS)
def test_ties_and_kinks_exactly_at_images_are_no_false_gradient(pool, bias):
    """Images of few values, most of them 0: equal values tie in every pooling."""
    gen = torch.Generator().manual_seed(1)
    images = (torch.rand(40, 1, 8, 8, generator=gen) * 4 - 2).round().clamp(0, 2) / 2
    for seed in range(4):
        torch.manual_seed(seed)
        first, second = nn.Conv2d(1, 16, 3, padding=1, bias=bias), nn.Conv2d(16, 32, 3, padding=1, bias=bias)
        end = nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 4)
        model = nn.Sequential(first, nn.ReLU(), pool(), second, nn.ReLU(), *end).eval()
        assert "gradient-false" not in findings(model, images)[1]


def test_one_image_that_is_not_explained_is_no_false_gradient():
    measured = measure_gradients(linear(1, 4, 3), torch.rand(30, 1, 4, 4), torch.zeros(30, dtype=torch.long), 0.01)
    assert not measured.false and measured.true
    measured.unexplained[0] = 1.0
    assert not measured.false
    measured.unexplained[:2] = 1.0
    assert measured.false


def test_logits_that_saturate_cross_entropy_are_told_and_their_gradient_is_true(network, images):
    settings, found = findings(nn.Sequential(network, Scaled(1000)), images)
    assert list(found) == ["gradient-saturated"] and settings["scale"] > 10 and "through" not in settings


def test_one_output_whose_margins_are_spread_is_believed():
    """Cross-entropy saturates on the surest images; divided so that hardly any does, the gradient is there on all."""
    torch.manual_seed(0)
    images = torch.rand(60, 1, 4, 4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
    surest = torch.linspace(0.2, 60, 60)[:, None] * torch.where(torch.arange(60) % 2 == 0, 1.0, -1.0)[:, None]
    with torch.no_grad():
        network[1].weight.copy_(torch.linalg.lstsq(images.flatten(1), surest).solution.T * 4)
    measured = measure_gradients(Binary(network), images, (network(images)[:, 0] > 0).long(), 0.01)
    settings = surrogate_settings(measured)
    scaled = measure_gradients(Surrogate(Binary(network), **settings), images, (network(images)[:, 0] > 0).long(), 0.01)
    assert float(measured.saturated.float().mean()) > 0.05 and scaled.true


class Binary(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logit = self.network(x)
        return torch.cat([torch.zeros_like(logit), logit], 1)


@pytest.mark.parametrize(
    "flat",
    [
        lambda z: F.one_hot(z.argmax(1), 4).float(),
        lambda z: (z * 1e4).softmax(1),
        lambda z: torch.tanh(z * 1e4),
        lambda z: (z * 1e4).clamp(-1, 1),
    ],
    ids=["labels", "softmax", "tanh", "clamp"],
)
def test_scores_on_a_plateau_are_flat(network, images, flat):
    class Flat(nn.Module):
        def forward(self, x):
            return flat(network(x))

    measured = measure_gradients(Flat(), images, network(images).argmax(1), 0.002)
    assert measured.flat.float().mean() > 0.5 and not measured.true
    assert "scores-flat" in {finding.id for finding in gradient_findings(measured)}


def test_it_looks_at_every_image_alone(network, images):
    model, labels = Behind(network, halved), network(images).argmax(1)
    whole = measure_gradients(model, images, labels, 0.01)
    few = measure_gradients(model, images[:3], labels[:3], 0.01)
    assert torch.allclose(whole.unexplained[:3], few.unexplained, rtol=0.05)
    assert torch.equal(whole.flat[:3], few.flat) and torch.equal(whole.zero[:3], few.zero)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_another_precision_are_measured_as_they_are(network, images, dtype):
    class Cast(nn.Module):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def forward(self, x):
            return network(self.change(x)).to(dtype)

    assert list(findings(Cast(lambda x: x), images)[1]) == ["gradients"]
    if dtype != torch.bfloat16:  # whose steps are too coarse to tell
        assert "gradient-false" in findings(Cast(halved), images)[1]


class Shaken(nn.Module):
    """A network behind noise of NumPy's, which no seed of escrime holds still; its gradient may be another's."""

    def __init__(self, network, lies):
        super().__init__()
        self.network, self.lies = network, lies

    def forward(self, x):
        noise = 0.02 * torch.from_numpy(np.random.default_rng().standard_normal(tuple(x.shape)).astype("f4"))
        return self.network((Other.apply(x) if self.lies else x) + noise)


class Other(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0)) * gradient.abs().mean()


@pytest.mark.parametrize("lies", [False, True])
def test_noise_that_cannot_be_held_still_accuses_nobody_and_hides_nothing(data, lies):
    net, images = dense(3, 4, 4), data[0][:16]
    net(images)
    found = measure_gradients(Shaken(net, lies), images, net(images).argmax(1), 0.008)
    assert found.unheld.all() and not found.false and not found.true and surrogate_settings(found) == {"through": True}
    (told,) = gradient_findings(found)
    assert told.severity == "note" and "Noise that does not repeat" in told.message
    assert not measure_gradients(net, images, net(images).argmax(1), 0.008).unheld.any()
