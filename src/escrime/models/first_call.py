"""What a prepared copy tries on the first image it is given: whether it runs in its memory format, and whether folding what
could not be traced as a whole kept its function."""

import torch
from torch import Tensor, nn

from ..randomness import row_keys

SAME = 1e-3  # of the largest logit: folding alone moves them by a thousandth of that


def in_format(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    """`model`, its tensors of four dimensions in the memory format `layout`; nn.Module.to refuses models with others."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=layout)
    return model


def answer(model: nn.Module, images: Tensor):
    """What the model, as it is, says of `images` (N, C, H, W); None where it fails: one that flattens by
    `x.view(len(x), -1)`, as many do, refuses channels-last memory."""
    try:
        with torch.no_grad(), row_keys([("first call", row) for row in range(len(images))]):
            return model(images.clone())
    except Exception:  # whatever else is wrong with the model or the images, the call that follows will say
        return None


class FirstCall:
    """A forward pre-hook that runs once. unfolded: a copy that says what the model must say, or None where that is sure."""

    def __init__(self, unfolded: nn.Module | None):
        self.unfolded = unfolded

    def __call__(self, model: nn.Module, given: tuple) -> None:
        if not given or not len(given[0]):
            return
        for key, hook in list(model._forward_pre_hooks.items()):
            if isinstance(hook, FirstCall):  # not by its handle: copies of the model have the hook too
                del model._forward_pre_hooks[key]
        images = given[0][:1]
        said = answer(model, images)
        if said is None:
            in_format(model, torch.contiguous_format)
            said = answer(model, images)
        if self.unfolded is not None and not _same(said, answer(self.unfolded, images)):
            vars(model).update(vars(self.unfolded))


def _same(said, right) -> bool:
    if not (isinstance(said, Tensor) and isinstance(right, Tensor) and said.shape == right.shape):
        return False
    return bool((said - right).abs().max() <= SAME * right.abs().max())
