"""Convolutions run together: the same outputs, gradients and statistics, and nothing left behind."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import weight_norm

import escrime
from escrime.models.siblings import siblings, together


class Branches(nn.Module):
    """Three branches read one tensor; `spoil` says what happens between the first and the second."""

    def __init__(self, spoil=lambda x: x, bias=True):
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, out, 1, bias=bias) for out in (4, 5, 6))
        self.norm, self.head, self.spoil = nn.BatchNorm2d(5), nn.Linear(15, 4), spoil

    def forward(self, x):
        x = x * 2
        a = torch.relu_(self.first(x))
        x = self.spoil(x)
        return self.head(torch.cat([a, self.norm(self.second(x)), self.third(x)], 1).mean((2, 3)))


def answers(model, images, labels, groups):
    """The logits, every gradient and every buffer after one training step's passes."""
    model, images = model.train(), images.clone().requires_grad_()
    model.zero_grad()
    with together(groups):
        logits = model(images)
        logits = logits if isinstance(logits, torch.Tensor) else logits[0]
    cross_entropy(logits, labels).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [logits.detach(), images.grad, *gradients, *(buffer.clone() for buffer in model.buffers())]


def assert_same(model, images, labels, calls, monkeypatch):
    """The same with and without running together, where `calls` convolutions are computed."""
    other, labels = copy.deepcopy(model), torch.as_tensor(labels)
    expected = answers(other, images, labels, [])
    count, real = [], nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda self, *given: count.append(1) or real(self, *given))
    found = answers(model, images, labels, siblings(model))
    assert len(count) == calls and len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert not any("forward" in vars(layer) for layer in model.modules())


@pytest.fixture
def images():
    return torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
def test_three_become_one(bias, layout, images, monkeypatch):
    model = Branches(bias=bias).to(memory_format=layout)
    assert [len(group) for group in siblings(model)] == [3]
    assert_same(model, images.contiguous(memory_format=layout), [0, 1, 2], 1, monkeypatch)


def test_googlenet_in_training(monkeypatch):
    model = escrime.build("googlenet", 10, seed=0).to(memory_format=torch.channels_last).double()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layers = sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
    assert_same(model, images.contiguous(memory_format=torch.channels_last), [3, 7], layers - 18, monkeypatch)


@pytest.mark.parametrize(
    "spoil", [lambda x: x.mul_(3), lambda x: x.clone(), lambda x: x.flip(0)], ids=["written to", "a copy", "another"]
)
@torch.no_grad()
def test_another_input_is_seen(spoil, images):
    """What is written to in place cannot be seen in the tensor's identity."""
    model = Branches()
    groups = siblings(model)  # of the model as it was traced
    model.spoil = spoil
    expected = copy.deepcopy(model)(images)
    with together(groups):
        assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-6)


def test_the_same_batch_twice_is_computed_twice(images):
    """Crafting and training ask about different images, or the same after a step: nothing old is handed out."""
    model = Branches().eval()
    with together(siblings(model)), torch.no_grad():
        before = model(images)
        model.second.weight.add_(1.0)
        assert not torch.allclose(model(images), before)
    with torch.no_grad():
        expected = model(images)
    with together(siblings(model)), torch.inference_mode():
        assert torch.allclose(model(images.clone()), expected, atol=1e-6)


def refuse_hook(model):
    model.second.register_forward_hook(lambda *args: None)
    return [2]


def refuse_parametrized(model):
    weight_norm(model.third)
    return [2]


def refuse_geometry(model):
    model.first.stride = (2, 2)
    return [2]


def refuse_frozen(model):
    model.first.requires_grad_(False)
    return [2]


def refuse_shared(model):
    model.second = model.first
    return []


def refuse_own_forward(model):
    model.first.forward = model.first.forward
    return [2]


@pytest.mark.parametrize("change", [v for name, v in globals().copy().items() if name.startswith("refuse_")])
def test_what_is_left_alone(change):
    model = Branches()
    model.norm = nn.Identity()
    expected = change(model)
    assert [len(group) for group in siblings(model)] == expected


def test_a_failure_leaves_nothing_behind(images):
    model = Branches()
    groups = siblings(model)
    with pytest.raises(RuntimeError), together(groups):
        model(images[:, :2])
    assert not any("forward" in vars(layer) for layer in model.modules())


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_cannot_be_traced_has_none():
    class Chooses(Branches):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    assert siblings(Chooses()) == []
    assert siblings(torch.jit.trace(Branches().eval(), torch.rand(1, 3, 6, 6))) == []
