"""A model without a memory: every batch goes to a copy of it as it was at the beginning."""

import copy
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from .running import passes_per_image

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


class Fresh(nn.Module):
    """The same classifier, images (N, C, H, W) → logits (N, K), for a model that counts or remembers what it is asked.

    Parameters are shared with `model`, and generators of random numbers, which would else draw the same again in every call;
    all else it holds, buffers too, is copied for every call.
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
    """A deep copy that shares the parameters, which a forward does not change, and the generators."""
    with torch.no_grad():
        return copy.deepcopy(model, {id(held): held for held in _shared(model)})


def _shared(model) -> Iterator:
    for module in model.modules() if isinstance(model, nn.Module) else [model]:
        yield from getattr(module, "_parameters", {}).values()
        yield from (value for value in getattr(module, "__dict__", {}).values() if isinstance(value, GENERATORS))
