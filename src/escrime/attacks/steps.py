"""Geometry that iterative attacks share: random starts in the ball, steepest steps, projection, for l_inf and l2."""

import torch
from torch import Tensor

from ..threat import per_image
from .iterative import Rows


def random_start(rows: Rows, keys: Tensor) -> Tensor:
    """Points (N, C, H, W) uniform in the ε-ball, clipped to the box, one draw per key (N,)."""
    shape, device = rows.images.shape[1:], rows.images.device
    noise, source = torch.empty_like(rows.images), torch.Generator(device=device)
    for n, key in enumerate(keys.tolist()):
        source.manual_seed(key)
        if rows.norm == "linf":
            noise[n] = torch.rand(shape, generator=source, device=device).mul_(2).sub_(1)
        else:
            direction = torch.randn(shape, generator=source, device=device)
            radius = torch.rand((), generator=source, device=device) ** (1 / direction.numel())
            noise[n] = direction * (radius / direction.norm())
    return rows.project(rows.images + per_image(rows.eps, rows.images).float() * noise)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The direction of unit `norm` along which a linear function with this gradient (N, C, H, W) rises fastest."""
    if norm == "linf":
        return gradient.sign()
    return gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-30).reshape(-1, 1, 1, 1)
