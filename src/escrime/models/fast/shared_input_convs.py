"""Convolutions that read the same tensor, run as one: an Inception block asks its input for four things at once."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, fx, nn
from torch._C._autograd import _top_saved_tensors_default_hooks

from .prepare import all_modules, hooked

Kernel = tuple[Tensor, Tensor | None]  # weight and bias


def plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether all that `layer` does is a convolution: a subclass, or a parametrized layer, may do more, and a hook must see
    its layer's own input and output."""
    return type(layer) is nn.Conv2d and not hooked(layer) and "forward" not in vars(layer)


def siblings(model: nn.Module, graph: fx.Graph) -> list[list[nn.Conv2d]]:
    """Groups of convolutions of `model` that its `graph` calls once, on the same tensor and with the same geometry, all with
    gradients or all without, in the order of their calls."""
    modules = all_modules(model)
    called = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(id(modules[node.target]) for node in called)
    groups: defaultdict[tuple, list[nn.Conv2d]] = defaultdict(list)
    for node in called:
        layer = modules[node.target]
        if plain(layer) and layer.groups == 1 and calls[id(layer)] == 1 and len(node.args) == 1 and not node.kwargs:
            geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode)
            kind = (layer.weight.dtype, layer.bias is None, layer.weight.requires_grad, node.meta["graded"])
            groups[node.args[0], geometry, kind].append(layer)
    return [group for group in groups.values() if len(group) > 1]


class Together:
    """A group's outputs for its latest input, as long as layers wait for their share.

    kernel(layer): the weight and bias it is to run with; convolve(layer, x, kernel): its output. A layer that is given
    another tensor than the first, or one that was written to in between, or that is called under torch.no_grad where the
    first was not, computes its own output.
    """

    def __init__(self, layers: list[nn.Conv2d], kernel: Callable, convolve: Callable):
        self.layers, self.kernel, self.convolve = layers, kernel, convolve
        self.input: Tensor | None = None
        self.state: tuple | None = None
        self.waiting: dict[int, Tensor] = {}

    def output(self, place: int, input: Tensor) -> Tensor:
        """What layer number `place` makes of `input`, the name that nn.Conv2d gives it."""
        layer = self.layers[place]
        # Activation checkpointing runs a part of the model a second time and counts what each run saves.
        shares = not torch.is_inference(input) and _top_saved_tensors_default_hooks(True) is None
        if shares and place == 0:
            return self._run(input)
        if shares and place in self.waiting and self.input is input and self.state == _state(input):
            found = self.waiting.pop(place)
            if not self.waiting:
                self.input = None
            return found
        return self.convolve(layer, input, self.kernel(layer))

    def _run(self, x: Tensor) -> Tensor:
        joined = self.convolve(self.layers[0], x, _joined([self.kernel(layer) for layer in self.layers]))
        last = joined.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        # Copies: what follows may write into its input, and runs slowly on a part of another tensor.
        parts = joined.split([layer.out_channels for layer in self.layers], dim=1)
        first, *others = (part.contiguous(memory_format=layout) for part in parts)
        self.input, self.state = x, _state(x)
        self.waiting = dict(enumerate(others, start=1))
        return first


def _state(x: Tensor) -> tuple:
    """What may change between two calls that are given the same tensor."""
    return x._version, torch.is_grad_enabled()


def _joined(kernels: list[Kernel]) -> Kernel:
    weights, biases = zip(*kernels)
    if all(bias is None for bias in biases):
        return torch.cat(weights), None
    # BatchNorm may have been folded into some of the layers only.
    return torch.cat(weights), torch.cat([weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in kernels])
