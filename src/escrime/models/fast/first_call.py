"""What a prepared copy finds out at its first call: whether it runs in its memory format, and whether folding what could not
be traced as a whole kept its function. No pass is spent where nothing is unverified."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..running import out_of_memory

SAME = 1e-3  # of the largest logit: folding alone moves them by a thousandth of that


def in_format(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    """`model`, its tensors of four dimensions in the memory format `layout`; nn.Module.to refuses models with others."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=layout)
    return model


@dataclass
class Unverified:
    """unfolded: a copy that returns what the model must return. folded: (child, convolution in it) of all that was folded
    without a sight of how the model uses its children."""

    unfolded: nn.Module
    folded: list[tuple[nn.Module, nn.Module]]


def on_first_call(model: nn.Module, unverified: Unverified | None) -> nn.Module:
    """`model`, which goes on in plain memory where its first call fails: one that flattens by `x.view(len(x), -1)`, as many
    do, refuses channels-last memory. Where its use of what was folded is in `unverified` and it errs, it goes on unfolded."""
    kind = type(model)
    # A class and no hook, which could not try again; and no attribute, which would stay the model's in copies of it.
    model.__class__ = type(kind.__name__, (_FirstCall, kind), {"__module__": kind.__module__})
    vars(model)["_unverified"] = unverified
    return model


def never_called(model: nn.Module) -> Unverified | None:
    """Make of a prepared copy that was never called what it is otherwise; returns what is unverified."""
    if isinstance(model, _FirstCall):
        model.__class__ = type(model).__bases__[1]
    return vars(model).pop("_unverified", None)


class _FirstCall:
    def forward(self, images: Tensor, **more: Any) -> Any:
        here = type(self)
        self.__class__ = here.__bases__[1]
        try:
            return _settle(cast(nn.Module, self), images, more)
        except BaseException:  # such as for want of memory: the next call is the first
            self.__class__ = here
            raise


def _settle(model: nn.Module, images: Tensor, more: dict[str, Any]) -> Any:
    unverified, spare = vars(model)["_unverified"], images.clone()  # a model may write into what it is given
    uses: Counter[nn.Module] = Counter()
    try:
        output = _watched(model, unverified, uses, images, more)
    except Exception as error:
        if out_of_memory(error):
            raise
        in_format(model, torch.contiguous_format)
        try:
            output = _watched(model, unverified, uses, spare.clone(), more)
        except Exception:
            in_format(model, torch.channels_last)
            output = None
        if output is None and unverified is None:
            raise
    # A convolution that runs as often as the child it is in is only used as the child uses it.
    if unverified is not None and (output is None or any(uses[child] != uses[layer] for child, layer in unverified.folded)):
        with torch.no_grad():
            right = unverified.unfolded.forward(spare.clone(), **more)
        if not _same(output, right):
            vars(model).update(vars(unverified.unfolded))
            output = model.forward(spare, **more)
    del vars(model)["_unverified"]
    return output


def _watched(
    model: nn.Module, unverified: Unverified | None, uses: Counter[nn.Module], images: Tensor, more: dict[str, Any]
) -> Any:
    """The model's output; `uses` counts the calls of what was folded."""
    modules: Collection[nn.Module] = {module for pair in unverified.folded for module in pair} if unverified is not None else ()
    uses.clear()
    hooks = [module.register_forward_hook(lambda module, *_: uses.update([module])) for module in modules]
    try:
        return model.forward(images, **more)
    finally:
        for hook in hooks:
            hook.remove()


def _same(output: object, right: object) -> bool:
    if not (isinstance(output, Tensor) and isinstance(right, Tensor) and output.shape == right.shape):
        return False
    return output.numel() == 0 or bool((output - right).abs().max() <= SAME * right.abs().max())
