"""A model without a memory: every batch goes to a copy of it as it was at the beginning."""

import copy
from types import CellType, FunctionType, MethodType

import torch
from torch import Tensor, nn

from .running import passes_per_image


class Fresh(nn.Module):
    """The same classifier, images (N, C, H, W) → logits (N, K), for a model that counts or remembers what it is asked.

    Parameters are shared with `model`; all else it holds, buffers too, and what a function has in its closure, is copied for
    every call. What lies elsewhere (a global, a file) stays as it is.
    Errors: whatever copy.deepcopy raises, for a model that cannot be copied.
    """

    def __init__(self, model):
        super().__init__()
        self.model = _copied(model)

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Tensor:
        return _copied(self.model)(images)


def _copied(model):
    """A deep copy that shares the parameters, which a forward does not change."""
    shared = {id(p): p for p in model.parameters()} if isinstance(model, nn.Module) else {}
    with torch.no_grad():
        return _copied_function(model, shared) if isinstance(model, (FunctionType, MethodType)) else copy.deepcopy(model, shared)


def _copied_function(function, shared: dict):
    """copy.deepcopy takes a function for a constant; its closure, or the object of a method, may be none."""
    if isinstance(function, MethodType):
        return MethodType(function.__func__, copy.deepcopy(function.__self__, shared))
    contents = [cell.cell_contents for cell in function.__closure__ or ()]
    for held in contents:
        shared |= {id(p): p for p in held.parameters()} if isinstance(held, nn.Module) else {}
    cells = tuple(
        CellType(_copied_function(held, shared) if isinstance(held, (FunctionType, MethodType)) else copy.deepcopy(held, shared))
        for held in contents
    )
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__, made.__dict__ = function.__kwdefaults__, dict(function.__dict__)
    return made
