"""A model that cannot take a single image, or few: it drops a dimension of 1, or takes statistics over the batch."""

import torch
from torch import Tensor, nn

from .outputs import is_plain
from .running import Classifier, check_logits, no_trace, passes_per_image

MOST = 8  # images that a batch may need


class FilledBatch(nn.Module):
    """The same classifier, images (N, C, H, W) → logits (N, K): a batch of fewer than `least` images is repeated."""

    def __init__(self, model: Classifier, least: int):
        super().__init__()
        self.model, self.least = model, least

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) >= self.least:
            return self.model(images)
        times = -(-self.least // max(len(images), 1))
        return self.model(images.repeat(times, 1, 1, 1))[: len(images)]


@torch.no_grad()
def fewest(model: Classifier, images: Tensor) -> tuple[int, bool]:
    """The smallest batch, 1, 2, 4 or 8, of copies of the first of `images` (N, C, H, W) that `model` takes, and whether it
    returns nothing but logits; 1 where it takes none, for its error to be reported."""
    size = 1
    while size <= MOST:
        batch = images[:1].repeat(size, 1, 1, 1)
        try:
            with no_trace(model, images.device):
                output = model(batch)
                check_logits(output, batch)
            return size, is_plain(output)
        except Exception:  # whatever a model raises that was made for batches
            size *= 2
    return 1, True
