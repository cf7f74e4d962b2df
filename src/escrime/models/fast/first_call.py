"""What a prepared copy finds out at its first call: whether it runs in its memory format, and whether folding what could not
be traced as a whole kept its function. No pass is spent where nothing is in doubt."""

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
class Doubt:
    """unfolded: a copy that says what the model must say. folded: (child, convolution in it) of all that was folded without
    a sight of how the model uses its children."""

    unfolded: nn.Module
    folded: list[tuple[nn.Module, nn.Module]]


def on_first_call(model: nn.Module, doubt: Doubt | None) -> nn.Module:
    """`model`, which goes on in plain memory where its first call fails: one that flattens by `x.view(len(x), -1)`, as many
    do, refuses channels-last memory. Where its use of what was folded is in `doubt` and it errs, it goes on unfolded."""
    kind = type(model)
    # A class and no hook, which could not try again; and no attribute, which would stay the model's in copies of it.
    model.__class__ = type(kind.__name__, (_FirstCall, kind), {"__module__": kind.__module__})
    vars(model)["_doubt"] = doubt
    return model


def never_called(model: nn.Module) -> Doubt | None:
    """Make of a prepared copy that was never called what it is otherwise; returns its doubt."""
    if isinstance(model, _FirstCall):
        model.__class__ = type(model).__bases__[1]
    return vars(model).pop("_doubt", None)


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
    doubt, spare = vars(model)["_doubt"], images.clone()  # a model may write into what it is given
    uses: Counter[nn.Module] = Counter()
    try:
        said = _watched(model, doubt, uses, images, more)
    except Exception as error:
        if out_of_memory(error):
            raise
        in_format(model, torch.contiguous_format)
        try:
            said = _watched(model, doubt, uses, spare.clone(), more)
        except Exception:
            in_format(model, torch.channels_last)
            said = None
        if said is None and doubt is None:
            raise
    # A convolution that runs as often as the child it is in is only used as the child uses it.
    if doubt is not None and (said is None or any(uses[child] != uses[layer] for child, layer in doubt.folded)):
        with torch.no_grad():
            right = doubt.unfolded.forward(spare.clone(), **more)
        if not _same(said, right):
            vars(model).update(vars(doubt.unfolded))
            said = model.forward(spare, **more)
    del vars(model)["_doubt"]
    return said


def _watched(model: nn.Module, doubt: Doubt | None, uses: Counter[nn.Module], images: Tensor, more: dict[str, Any]) -> Any:
    """The model's answer; `uses` counts the calls of what was folded."""
    modules: Collection[nn.Module] = {module for pair in doubt.folded for module in pair} if doubt is not None else ()
    uses.clear()
    hooks = [module.register_forward_hook(lambda module, *_: uses.update([module])) for module in modules]
    try:
        return model.forward(images, **more)
    finally:
        for hook in hooks:
            hook.remove()


def _same(said: object, right: object) -> bool:
    if not (isinstance(said, Tensor) and isinstance(right, Tensor) and said.shape == right.shape):
        return False
    return said.numel() == 0 or bool((said - right).abs().max() <= SAME * right.abs().max())
