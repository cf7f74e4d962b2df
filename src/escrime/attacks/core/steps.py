"""Where iterative attacks start."""

import torch
from torch import Tensor

from .rows import Rows


def random_start(rows: Rows, keys: Tensor) -> Tensor:
    """Points (N, C, H, W) uniform in the ε-ball, clipped to the box, one draw per key (N,)."""
    source, eps = torch.Generator(device=rows.images.device), rows.eps.float()
    delta = torch.empty_like(rows.images)
    for n, key in enumerate(keys.tolist()):
        source.manual_seed(key)
        delta[n] = rows.geometry.random_point(rows.images[n], eps[n], source)
    return rows.project(rows.images + delta)
