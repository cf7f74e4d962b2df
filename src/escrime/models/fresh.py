"""A model without a memory: every batch goes to a copy of it as it was at the beginning."""

import copy

import torch
from torch import Tensor, nn

from .running import passes_per_image


class Fresh(nn.Module):
    """The same classifier, images (N, C, H, W) → logits (N, K), for a model that counts or remembers what it is asked.

    Parameters are shared with `model`; all else it holds, buffers too, is copied for every call.
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
        return copy.deepcopy(model, shared)
