"""Weight gradients by matrix products are autograd's."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import conv2d

from escrime.models.fast import weight_gradient as products
from escrime.models.fast.kernels import Kernels
from escrime.models.fast.weight_gradient import convolve, weight_gradient, worthwhile


def drawn(*shape, layout=torch.channels_last):
    draw = torch.Generator().manual_seed(sum(shape))
    return torch.rand(shape, generator=draw, dtype=torch.float64).sub_(0.5).contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (1, 7), (5, 1)], ids=str)
@pytest.mark.parametrize("chunk", [1, 7000, 2**21], ids=["image by image", "uneven parts", "all at once"])
def test_the_weight_gradient_is_autograds(chunk, kernel, layout, monkeypatch):
    monkeypatch.setattr(products, "CHUNK", chunk)
    x, weight = drawn(5, 3, 7, 9, layout=layout), drawn(4, 3, *kernel).requires_grad_()
    output = conv2d(x, weight, padding=[size // 2 for size in kernel])
    gradient = drawn(*output.shape, layout=layout)
    (expected,) = torch.autograd.grad(output, weight, gradient)
    found = weight_gradient(x, gradient, kernel)
    assert found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_the_other_gradients_and_second_ones(bias):
    x, weight = drawn(2, 3, 4, 5).requires_grad_(), drawn(4, 3, 3, 3).requires_grad_()
    given = (x, weight, drawn(4, 1, 1, 1).flatten().requires_grad_() if bias else None)
    assert torch.autograd.gradcheck(convolve, given)
    assert torch.autograd.gradgradcheck(convolve, given)


def test_only_large_float32_layers_that_learn(monkeypatch):
    monkeypatch.setattr(products, "SLOW_KERNELS", True)
    x, weight = torch.rand(1, 64, 24, 24), torch.rand(64, 64, 3, 3).requires_grad_()
    assert worthwhile(x, weight)
    assert not worthwhile(x[:, :, 1:], weight)
    assert not worthwhile(x[:, :63], weight[:, :63])
    assert not worthwhile(x, weight[:, :, 1:2, 1:2])
    assert worthwhile(torch.rand(1, 192, 2, 2), torch.rand(96, 192, 1, 1).requires_grad_())
    assert not worthwhile(x.double(), weight.double())
    assert not worthwhile(x, weight.detach())
    with torch.no_grad():
        assert not worthwhile(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not worthwhile(x, weight)
    monkeypatch.setattr(products, "SLOW_KERNELS", False)
    assert not worthwhile(x, weight)


def test_other_derivatives_of_a_model_stay_possible(monkeypatch):
    """An objective may take gradients per image, or derivatives forward."""
    monkeypatch.setattr(products, "SLOW_KERNELS", True)
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 2, 1))
    x = torch.rand(3, 64, 24, 24, generator=torch.Generator().manual_seed(0))
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def loss(weights, image):
        return functional_call(model, weights, (image[None],)).square().mean()

    def forward():
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(model(forward_ad.make_dual(x, x))).tangent

    def derivatives():
        each = vmap(grad(loss), (None, 0))(weights, x)["0.weight"]
        return each, jvp(model, (x,), (x,))[1].detach(), forward().detach()

    expected, kernels = derivatives(), Kernels(model.eval())
    model.train()
    with kernels.installed():
        for found, wanted in zip(derivatives(), expected):
            assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "ours"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3, padding="same", bias=False), True),
        (nn.Conv2d(192, 128, 1), True),
        (nn.Conv2d(64, 64, 3), False),
        (nn.Conv2d(64, 64, 3, padding=1, stride=2), False),
        (nn.Conv2d(64, 64, 3, padding=2, dilation=2), False),
        (nn.Conv2d(128, 128, 3, padding=1, groups=2), False),
        (nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"), False),
    ],
    ids=str,
)
def test_layers_of_a_model(layer, ours, monkeypatch):
    monkeypatch.setattr(products, "SLOW_KERNELS", True)
    calls, real = [], products.weight_gradient
    monkeypatch.setattr(products, "weight_gradient", lambda *given: calls.append(1) or real(*given))
    model = nn.Sequential(layer, nn.ReLU())
    x = torch.rand(2, layer.in_channels, 24, 25, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def gradients(model):
        out = model(x)
        return torch.autograd.grad(out.square().sum(), [x, *model.parameters()])

    expected = gradients(copy.deepcopy(model))
    with Kernels(model).installed():
        for found, wanted in zip(gradients(model), expected):
            assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
        assert calls == ([1] if ours else [])
        model.eval()  # while examples are crafted
        model(x).sum().backward()
        assert calls == ([1] if ours else [])
