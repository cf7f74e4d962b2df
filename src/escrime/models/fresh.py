"""A model without a memory: every batch goes to a copy of it as it was at the beginning."""

import copy
import random
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .running import Classifier, passes_per_image

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)

FUNCTIONS = (FunctionType, MethodType)
Held = TypeVar("Held")


class Fresh(nn.Module):
    """The same classifier, images (N, C, H, W) → logits (N, K), for a model that counts or remembers what it is asked.

    Parameters are shared with `model`, and generators of random numbers, which would else draw the same again in every call;
    all else it holds, buffers too, and what a function has in its closure, is copied for every call. What lies elsewhere (a
    global, a file) stays as it is.

    Raises:
        Exception: Whatever copy.deepcopy raises, for a model that cannot be copied.
    """

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = _copied(model)

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Tensor:
        return _copied(self.model)(images)


def untouched(model: Classifier) -> Classifier:
    """What may be asked about `model` before it is looked for a memory, which that would fill: copies of it, one for each call;
    itself where it is no module, or cannot be copied."""
    if not isinstance(model, nn.Module):
        return model
    try:
        return Fresh(model)
    except Exception:  # whatever copying somebody's model raises
        return model


def _copied(model: Held) -> Held:
    """A deep copy that shares the parameters, which a forward does not change, and the generators."""
    with torch.no_grad():
        shared = {id(held): held for held in _shared(model)}
        return _copied_function(model, shared) if isinstance(model, FUNCTIONS) else copy.deepcopy(model, shared)


def _copied_function(function: Any, shared: dict) -> Any:
    """copy.deepcopy takes a function for a constant; its closure, or the object of a method, may be none."""
    if isinstance(function, MethodType):
        shared |= {id(held): held for held in _shared(function.__self__)}
        return MethodType(function.__func__, copy.deepcopy(function.__self__, shared))
    contents = [cell.cell_contents for cell in function.__closure__ or ()]
    for held in contents:
        shared |= {id(part): part for part in _shared(held)}
    cells = tuple(
        CellType(_copied_function(held, shared) if isinstance(held, FUNCTIONS) else copy.deepcopy(held, shared))
        for held in contents
    )
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__, made.__dict__ = function.__kwdefaults__, dict(function.__dict__)
    return made


def _shared(model: object) -> Iterator:
    if isinstance(model, GENERATORS):
        yield model
    for module in model.modules() if isinstance(model, nn.Module) else [model]:
        yield from getattr(module, "_parameters", {}).values()
        yield from (value for value in getattr(module, "__dict__", {}).values() if isinstance(value, GENERATORS))
