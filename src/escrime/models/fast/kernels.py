"""How training runs a model's convolutions on a CPU: the model's own code, fewer and faster kernels beneath it.

- Convolutions that read the same tensor run as one (shared_input_convs.py).
- Where BatchNorm is in evaluation mode, as while examples are crafted, it is folded into the convolution before it.
- Weight gradients that oneDNN is slow at are matrix products (weight_gradient.py).

Only the order of arithmetic changes. On a GPU nothing of this was measured; in NCHW a share of an output is no cheaper than
an output of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..running import modes_kept
from .prepare import all_modules, appearances, hooked, pairs, trace
from .shared_input_convs import Kernel, Together, plain, siblings
from .weight_gradient import convolve, worthwhile


class Kernels:
    """The faster way through `model`; where its forward cannot be traced, only its weight gradients are faster."""

    def __init__(self, model: nn.Module):
        self.layers: list[nn.Conv2d] = []
        self.groups: list[list[nn.Conv2d]] = []
        self.norms: dict[nn.Conv2d, _BatchNorm] = {}
        modules = all_modules(model)
        if any(compiled(module) for module in modules.values()):
            return  # its graphs would be compiled anew at every change of a forward
        self.layers = [layer for layer in model.modules() if plain(layer)]
        training, evaluation = _graphs(model)
        if training is not None:
            # Those that training calls: the weights of a layer that it does not call have no gradient, not a gradient of 0.
            self.groups = siblings(model, training)
        if evaluation is not None:
            for layer, norm in ((modules[a], modules[b]) for a, b in pairs(model, evaluation, appearances(model))):
                if plain(layer) and isinstance(norm, _BatchNorm) and not hooked(norm) and "forward" not in vars(norm):
                    self.norms[layer] = norm

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within the block the model runs this way; do not copy it there. Gradients reach every layer's own parameters."""
        with ExitStack() as after:
            for layer in self.layers:
                _replace(after, layer, partial(self._run, layer))
            for group in self.groups:
                shared = Together(group, self._kernel, _convolve)
                for place, layer in enumerate(group):
                    layer.forward = partial(shared.output, place)  # type: ignore[method-assign]
            for layer, norm in self.norms.items():
                _replace(after, norm, partial(self._after, layer, norm))
            yield

    # `input`, as torch names it: a model may call its layers by keyword.
    def _run(self, layer: nn.Conv2d, input: Tensor) -> Tensor:
        return _convolve(layer, input, self._kernel(layer))

    def _after(self, layer: nn.Conv2d, norm: _BatchNorm, input: Tensor) -> Tensor:
        return input if self._folds(layer, norm) else type(norm).forward(norm, input)

    def _folds(self, layer: nn.Conv2d, norm: _BatchNorm) -> bool:
        # A frozen BatchNorm alone is not enough: the pairs are those of the model in evaluation mode.
        return not norm.training and not layer.training

    def _kernel(self, layer: nn.Conv2d) -> Kernel:
        weight, bias, norm = layer.weight, layer.bias, self.norms.get(layer)
        if norm is None or not self._folds(layer, norm):
            return weight, bias
        assert norm.running_mean is not None and norm.running_var is not None  # as `pairs` found
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shift = (-norm.running_mean if bias is None else bias - norm.running_mean) * scale
        return weight * scale.view(-1, 1, 1, 1), shift if norm.bias is None else shift + norm.bias


def _graphs(model: nn.Module) -> list[fx.Graph | None]:
    """The graphs of the model in training and in evaluation mode."""
    graphs = []
    with modes_kept(model):
        for training in (True, False):
            model.train(training)
            graphs.append(trace(model, root=True))
    return graphs


def compiled(module: nn.Module) -> bool:
    """Whether the module is torch.compile's, or was compiled in place."""
    return "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None


def _convolve(layer: nn.Conv2d, x: Tensor, kernel: Kernel) -> Tensor:
    weight, bias = kernel
    same = layer.padding == "same" or layer.padding == tuple(size // 2 for size in layer.kernel_size)
    ordinary = layer.stride == layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    if same and ordinary and layer.training and x.dim() == 4 and worthwhile(x, weight):
        return convolve(x, weight, bias)
    return layer._conv_forward(x, weight, bias)


def _replace(after: ExitStack, module: nn.Module, forward: Callable[..., Tensor]) -> None:
    module.forward = forward
    after.callback(delattr, module, "forward")
