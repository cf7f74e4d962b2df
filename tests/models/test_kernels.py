"""Fewer and faster kernels beneath a model: the same outputs, gradients and statistics, and nothing left behind."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import escrime
from escrime.models.fast.kernels import Kernels


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


def groups(model):
    return Kernels(model.eval()).groups


def answers(model, images, labels, way, training=True):
    """The logits, every gradient and every buffer after one training step's passes."""
    model, images = model.train(training), images.clone().requires_grad_()
    model.zero_grad()
    with way():
        logits = model(images)
        logits = logits if isinstance(logits, torch.Tensor) else logits[0]
    cross_entropy(logits, labels).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [logits.detach(), images.grad, *gradients, *(buffer.clone() for buffer in model.buffers())]


def assert_same(model, images, labels, calls, monkeypatch, training=True):
    """The same with and without other kernels, where `calls` convolutions are computed."""
    other, labels = copy.deepcopy(model), torch.as_tensor(labels)
    expected, kernels = answers(other, images, labels, nullcontext, training), Kernels(model.eval())
    count, real = [], nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda self, *given: count.append(1) or real(self, *given))
    found = answers(model, images, labels, kernels.installed, training)
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
    assert [len(group) for group in groups(model)] == [3]
    assert_same(model, images.contiguous(memory_format=layout), [0, 1, 2], 1, monkeypatch)


def googlenet():
    model = escrime.build("googlenet", 10, seed=0).to(memory_format=torch.channels_last).double()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, nn.BatchNorm2d):  # all that folding must not forget
            for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                tensor.data.uniform_(0.5, 1.5)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return model, images.contiguous(memory_format=torch.channels_last)


def test_googlenet_in_training(monkeypatch):
    model, images = googlenet()
    layers = sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
    assert_same(model, images, [3, 7], layers - 18, monkeypatch)


def test_googlenet_in_evaluation(monkeypatch):
    """Every BatchNorm is folded; its parameters still get their gradients."""
    model, images = googlenet()
    layers = sum(isinstance(layer, nn.Conv2d) for name, layer in model.named_modules() if "aux" not in name)
    norms, real = [], nn.BatchNorm2d.forward
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda self, x: norms.append(1) or real(self, x))
    assert_same(model, images, [3, 7], layers - 18, monkeypatch, training=False)
    assert len(norms) == layers  # of the model without other kernels


@pytest.mark.parametrize(
    "spoil", [lambda x: x.mul_(3), lambda x: x.clone(), lambda x: x.flip(0)], ids=["written to", "a copy", "another"]
)
@torch.no_grad()
def test_another_input_is_seen(spoil, images):
    """What is written to in place cannot be seen in the tensor's identity."""
    model = Branches()
    kernels = Kernels(model.eval())  # of the model as it was traced
    model.spoil = spoil
    expected = copy.deepcopy(model)(images)
    with kernels.installed():
        assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-6)


def test_the_same_batch_twice_is_computed_twice(images):
    """Crafting and training ask about different images, or the same after a step: nothing old is handed out."""
    model = Branches().eval()
    with Kernels(model).installed(), torch.no_grad():
        before = model(images)
        model.second.weight.add_(1.0)
        assert not torch.allclose(model(images), before)
    with torch.no_grad():
        expected = model(images)
    with Kernels(model).installed(), torch.inference_mode():
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
    assert [len(group) for group in groups(model)] == expected


def test_a_failure_leaves_nothing_behind(images):
    model = Branches()
    with pytest.raises(RuntimeError), Kernels(model).installed():
        model(images[:, :2])
    assert not any("forward" in vars(layer) for layer in model.modules())


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_cannot_be_traced_has_none():
    class Chooses(Branches):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    assert groups(Chooses()) == []
    assert groups(torch.jit.trace(Branches().eval(), torch.rand(1, 3, 6, 6))) == []


class Normed(nn.Module):
    """A convolution, its BatchNorm, and a second BatchNorm that follows none."""

    def __init__(self, bias=True, **norm):
        super().__init__()
        self.layer, self.norm, self.last = nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4, **norm), nn.BatchNorm2d(4)
        for buffer in self.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.layer(x)))).mean((2, 3))


def folded(model, way):
    """How many BatchNorms of `model` the context `way` leaves out of a forward pass."""
    kernels, ran, real = Kernels(model.eval()), [], nn.BatchNorm2d.forward
    way(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.BatchNorm2d, "forward", lambda self, x: ran.append(1) or real(self, x))
        with kernels.installed():
            model(torch.rand(2, 3, 6, 6))
    return 2 - len(ran)


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"affine": False}, {"eps": 0.5}], ids=str)
def test_batchnorm_is_folded_while_crafting(settings, images, monkeypatch):
    model = Normed(**settings)
    if model.norm.affine:
        nn.init.uniform_(model.norm.weight, 0.5, 1.5), nn.init.uniform_(model.norm.bias)
    assert folded(model, nn.Module.eval) == 1
    assert_same(model, images, [0, 1, 2], 1, monkeypatch, training=False)


def frozen(model):
    model.train()
    model.norm.eval(), model.last.eval()


def test_batchnorm_in_training_stays():
    assert folded(Normed(), nn.Module.train) == 0
    assert folded(Normed(), frozen) == 0
    assert folded(Normed(track_running_stats=False), nn.Module.eval) == 0


def watched(model):
    model.norm.register_forward_hook(lambda *args: None)


def read_twice(model):
    model.last = model.norm


def tied(model):
    model.extra = nn.Conv2d(3, 4, 3)
    model.extra.weight = model.layer.weight


@pytest.mark.parametrize("change", [watched, read_twice, tied])
def test_batchnorm_that_others_see_stays(change):
    model = Normed()
    change(model)
    assert folded(model, nn.Module.eval) == 0


def test_weights_are_folded_as_they_are_now(images):
    """A step between two crafted batches is seen."""
    model = Normed().eval()
    kernels = Kernels(model)
    with kernels.installed(), torch.no_grad():
        before = model(images)
        model.layer.weight.mul_(2.0)
        model.norm.running_mean.add_(1.0)
        found = model(images)
    with torch.no_grad():
        assert torch.allclose(found, model(images), atol=1e-5) and not torch.allclose(found, before, atol=1e-2)


class Two(nn.Module):
    """Two convolutions of one tensor, called in the `way` that is asked for."""

    def __init__(self, way):
        super().__init__()
        self.first, self.second, self.head, self.way = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(8, 4), way

    def forward(self, x):
        return self.head(torch.cat(self.way(self, x), 1).mean((2, 3)))


@torch.no_grad()
def without_gradient(layer, x):
    return layer(x)


def together(self, x):
    return [self.first(x), self.second(x)]


def first_without(self, x):
    return [without_gradient(self.first, x), self.second(x)]


def second_without(self, x):
    return [self.first(x), without_gradient(self.second, x)]


def second_without_in_evaluation(self, x):
    return together(self, x) if self.training else second_without(self, x)


def by_keyword(self, x):
    return [self.first(input=x), self.second(input=x)]


def checkpointed(self, x):
    return checkpoint(together, self, x, use_reentrant=False)


def one_checkpointed(self, x):
    return [self.first(x), checkpoint(self.second, x, use_reentrant=False)]


def only_to_evaluate(self, x):
    return [self.first(x), self.first(x) if self.training else self.second(x)]


WAYS = [
    first_without,
    second_without,
    second_without_in_evaluation,
    by_keyword,
    checkpointed,
    one_checkpointed,
    only_to_evaluate,
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_reach_what_they_would_reach(way, training, images):
    """A branch without gradients stays without them, and a part that runs twice saves the same both times."""
    model = Two(way)
    other, found = copy.deepcopy(model), []
    for network, kernels in ((model, Kernels(model).installed), (other, nullcontext)):
        wanted = [images.requires_grad_(), *(network.parameters() if training else ())]
        with kernels():
            loss = network.train(training)(images).square().sum()
            found.append(torch.autograd.grad(loss, wanted, allow_unused=True))
    for ours, theirs in zip(*found):
        assert (ours is None) is (theirs is None)
        assert theirs is None or torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_compiled_model_is_left_alone():
    """Other forwards at every step would have it compiled at every step."""
    model = Branches()
    assert Kernels(nn.Sequential(torch.compile(model))).layers == [] and Kernels(model).layers
    model.compile()
    assert Kernels(nn.Sequential(model)).layers == []
