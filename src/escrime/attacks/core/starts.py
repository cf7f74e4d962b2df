"""Where iterative attacks start."""

import torch
from torch import Tensor

from .rows import Rows


def random_start(rows: Rows, keys: Tensor) -> Tensor:
    """Points drawn uniformly from the ε-ball around each image, of the pixels in the mask, projected on ball ∩ [0, 1].

    Args:
        rows: The images and their ε.
        keys: Of the randomness of each row, int64 (N,).

    Returns:
        float32 (N, C, H, W).
    """
    source, eps = torch.Generator(device=rows.images.device), rows.eps.float()
    delta = torch.empty_like(rows.images)
    for n, key in enumerate(keys.tolist()):
        source.manual_seed(key)
        mask = None if rows.mask is None else rows.mask[n, 0]
        delta[n] = rows.geometry.random_within(rows.images[n], mask, eps[n], source)
    return rows.project(rows.images + delta)
