"""Convolutions that read the same tensor, run as one: an Inception block asks its input for four things at once."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from .prepare import hooked, trace


def siblings(model: nn.Module) -> list[list[nn.Conv2d]]:
    """Groups of convolutions of `model` that are called once, on the same tensor and with the same geometry, in the order
    of their calls; none where the forward cannot be traced."""
    graph = None if isinstance(model, torch.jit.ScriptModule) else trace(model, root=True)
    if graph is None:
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    called = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(id(modules[node.target]) for node in called)
    groups = defaultdict(list)
    for node in called:
        layer = modules[node.target]
        # Exact type: a subclass, or a parametrized layer, may do more. A hook must see its layer's own input and output.
        plain = type(layer) is nn.Conv2d and layer.groups == 1 and not hooked(layer) and "forward" not in vars(layer)
        if plain and calls[id(layer)] == 1 and len(node.args) == 1 and not node.kwargs:
            geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode)
            kind = (layer.weight.dtype, layer.bias is None, layer.weight.requires_grad)
            groups[node.args[0], geometry, kind].append(layer)
    return [group for group in groups.values() if len(group) > 1]


@contextmanager
def together(groups: list[list[nn.Conv2d]]) -> Iterator[None]:
    """Within the block the first of a group that is called runs the whole group as one convolution, and the others take
    their share of its output; gradients reach every layer's own parameters.

    Only the order of arithmetic changes. A layer that is given another tensor than the first, or one that was written to in
    between, computes its own output. Do not copy the model within the block.
    """
    with ExitStack() as after:
        for group in groups:
            shared = _Shared(group)
            for place, layer in enumerate(group):
                layer.forward = partial(shared.output, place)
                after.callback(delattr, layer, "forward")
        yield


class _Shared:
    """The output of a group for its latest input, as long as layers wait for their share."""

    def __init__(self, layers: list[nn.Conv2d]):
        self.layers, self.input, self.version, self.waiting = layers, None, 0, {}

    def output(self, place: int, x: Tensor) -> Tensor:
        """What layer number `place` makes of `x`."""
        layer = self.layers[place]
        if place == 0 and not torch.is_inference(x):
            return self._run(x)
        if self.input is x and x._version == self.version and place in self.waiting:
            found = self.waiting.pop(place)
            if not self.waiting:
                self.input = None
            return found
        return layer._conv_forward(x, layer.weight, layer.bias)

    def _run(self, x: Tensor) -> Tensor:
        weight = torch.cat([layer.weight for layer in self.layers])
        bias = None if self.layers[0].bias is None else torch.cat([layer.bias for layer in self.layers])
        joined = self.layers[0]._conv_forward(x, weight, bias)
        last = joined.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        # Copies: what follows may write into its input, and runs slowly on a part of another tensor.
        parts = joined.split([layer.out_channels for layer in self.layers], dim=1)
        first, *others = (part.contiguous(memory_format=layout) for part in parts)
        self.input, self.version, self.waiting = x, x._version, dict(enumerate(others, start=1))
        return first
