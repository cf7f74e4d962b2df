"""A frozen copy of a classifier that computes the same thing faster: what attacks and evaluations run."""

import copy
import random
from collections import Counter
from inspect import Parameter, signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ...errors import EscrimeError
from .first_call import Unverified, in_format, never_called, on_first_call

# Exact types only: a subclass, or a parametrized layer, may do more than its base class.
PAIRS = {(nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)}


def prepare(model: nn.Module) -> nn.Module:
    """A copy of `model` for inference and input gradients: eval mode, frozen parameters, every BatchNorm folded into
    the convolution it follows, channels-last memory where the model runs in it (see first_call.py).

    Only the order of arithmetic changes: logits agree to about 1e-6 of their size in float32 (`numerical_difference` measures
    it), so a verdict with a clear margin is the original's. The copy shares no storage with the original, which keeps
    its mode, gradients and hooks. The copy runs the model's own forward code, so random numbers and control flow stay
    alive; tracing with torch.fx only finds the pairs. What cannot be traced is searched child by child; a model with
    hooks on its layers is copied and left unfolded.

    Raises:
        EscrimeError: If the model cannot be copied.
    """
    duplicate = copied(model)
    duplicate.eval()
    earlier = never_called(duplicate)
    for parameter in duplicate.parameters():  # one by one: ScriptModules have no requires_grad_ of their own
        parameter.requires_grad_(False)
    unverified = unfolded = None
    if not any(hooked(module) for name, module in duplicate.named_modules() if name):
        graph = trace(duplicate, root=True)
        if graph is None and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in duplicate.modules()):
            unfolded = copied(duplicate)
        folded = _fold(duplicate, appearances(duplicate), graph)
        unverified = Unverified(unfolded, folded) if unfolded is not None and folded else None
    if isinstance(duplicate, torch.jit.ScriptModule):  # of a class of its own, but it shows what it does
        views = "aten::view" in str(duplicate.inlined_graph)
        return duplicate if views else in_format(duplicate, torch.channels_last)
    return on_first_call(in_format(duplicate, torch.channels_last), earlier or unverified)


def numerical_difference(model: nn.Module, prepared: nn.Module, images: Tensor) -> float:
    """How far the prepared copy of a model is from it.

    Args:
        model: The network, which is asked in eval mode.
        prepared: What `prepare` made of it.
        images: float32 (N, C, H, W) in [0, 1].

    Returns:
        The largest |difference| between their logits over the images.
    """
    reference = copied(model)
    reference.eval()
    with torch.no_grad():
        return float((reference(images.clone()) - prepared(images.clone())).abs().max())


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; deepcopy leaves gradients behind."""
    # deepcopy refuses tensors that have a graph, such as those that torch.nn.utils.weight_norm leaves on a module.
    derived = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        with torch.no_grad():  # TorchScript copies by operations that autograd would record
            return copy.deepcopy(model, derived)
    except Exception as error:
        name = type(model).__name__
        raise EscrimeError(f"the {name} cannot be copied ({error}); it must support copy.deepcopy.") from error


def hooked(module: nn.Module) -> bool:
    """Whether someone watches or changes what goes in or out of the module, which folding would change."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(kinds)


def all_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every path to every module: a module reachable in two ways appears twice."""
    return dict(model.named_modules(remove_duplicate=False))


def appearances(model: nn.Module) -> Counter:
    """How often each module and each parameter, by its id, appears in the model: one that is tied appears twice."""
    parameters = [p for module in model.modules() for p in module._parameters.values() if p is not None]
    return Counter(map(id, all_modules(model).values())) + Counter(map(id, parameters))


def _fold(model: nn.Module, uses: Counter, graph: fx.Graph | None) -> list[tuple[nn.Module, nn.Module]]:
    """Fold every pair of `model`, in place; where it has no `graph`, fold its children one by one. Returns (the module whose
    graph showed it, the convolution) of each.

    `uses` counts how often each module and parameter appears in the whole model: shared ones are left alone.
    """
    if graph is None:
        return [pair for child in model.children() for pair in _fold(child, uses, trace(child, root=False))]
    folded: list[tuple[nn.Module, nn.Module]] = []
    for layer_name, norm_name in pairs(model, graph, uses):
        layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        assert isinstance(layer, _ConvNd) and isinstance(norm, _BatchNorm)  # as `pairs` found
        if norm.training:  # a model's own train() may keep it so
            continue
        # In float64, so that folding rounds each weight once.
        assert norm.running_mean is not None and norm.running_var is not None
        mean, variance = norm.running_mean.double(), norm.running_var.double()
        values = (layer.bias, norm.weight, norm.bias)
        bias, scale, shift = (None if value is None else value.double() for value in values)
        fused = fuse_conv_bn_weights(layer.weight.double(), bias, mean, variance, norm.eps, scale, shift)
        layer.weight, layer.bias = (nn.Parameter(value.to(layer.weight.dtype), requires_grad=False) for value in fused)
        # The same module, which the model's own code may look at (isinstance, num_features) or hold in a list of its own.
        norm.__class__ = type(type(norm).__name__, (Folded, type(norm)), {"__module__": type(norm).__module__})
        folded.append((model, layer))
    return folded


def pairs(model: nn.Module, graph: fx.Graph, uses: Counter) -> list[tuple[str, str]]:
    """Names of (convolution, BatchNorm) where the one's output goes to the other alone, and each is called once."""
    modules = all_modules(model)
    calls = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    # A layer whose parameters are also read directly, as in functional calls, must keep them.
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}

    def private(name: str) -> bool:
        things = [modules[name], *modules[name].parameters()]
        return calls[id(modules[name])] == 1 and name not in read and all(uses[id(thing)] == 1 for thing in things)

    found = []
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        assert isinstance(source.target, str)  # as that of every call of a module
        layer, norm = modules[source.target], modules[node.target]
        # Without running statistics BatchNorm uses those of the batch, even in eval mode.
        foldable = (type(layer), type(norm)) in PAIRS and norm.running_mean is not None
        if foldable and private(source.target) and private(node.target):
            found.append((source.target, node.target))
    return found


class Folded:
    """A BatchNorm whose work the convolution before it has done."""

    def forward(self, input: Tensor) -> Tensor:  # as torch names it
        return input


class _Tracer(fx.Tracer):
    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["graded"] = torch.is_grad_enabled()
        return node


def trace(model: nn.Module, root: bool) -> fx.Graph | None:
    """The graph of the model's forward, or None where symbolic tracing fails or cannot be trusted.

    node.meta["graded"]: whether gradients were enabled where the model makes this call.

    A `root` is called as model(images), so what else its forward takes has its default, such as `auxiliary` of
    Normalized. How a child is called is its parent's business: nothing is assumed.
    """
    if isinstance(model, torch.jit.ScriptModule):
        return None
    # Tracing runs forward with stand-ins for tensors, which forward may store: so on a copy that shares the tensors.
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)
    try:
        arguments = signature(model.forward).parameters.items() if root else ()
        defaults = {name: argument.default for name, argument in arguments if argument.default is not Parameter.empty}
        graph = _Tracer().trace(copy.deepcopy(model, shared), defaults)
    except Exception:  # control flow on values, shapes read as numbers, another library's modules, …
        graph = None
    # Numbers drawn during tracing may have chosen the path through the model; the next call may take another.
    drew = not torch.equal(before[0], torch.get_rng_state()) or before[1] != random.getstate()
    drew = drew or not _same(before[2], np.random.get_state(legacy=False))
    torch.set_rng_state(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])
    return None if drew else graph


def _same(one: dict, other: dict) -> bool:
    """Whether two states of numpy's generator are equal."""
    key, place = one["state"]["key"], one["state"]["pos"]
    return place == other["state"]["pos"] and one["gauss"] == other["gauss"] and np.array_equal(key, other["state"]["key"])
