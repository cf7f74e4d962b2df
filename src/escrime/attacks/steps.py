"""Geometry that iterative attacks share: random starts in the ball, steepest steps, projection, for l_inf and l2."""

import torch
from torch import Tensor

from ..randomness import generator
from ..threat import per_image, project
from .iterative import Rows


def random_start(rows: Rows, keys: list[tuple], norm: str) -> Tensor:
    """Points (N, C, H, W) uniform in the ε-ball of `norm`, clipped to the box, one draw per key."""
    shape, device = rows.images.shape[1:], rows.images.device
    noise = torch.empty_like(rows.images)
    for n, key in enumerate(keys):
        source = generator(*key, device=device)
        if norm == "linf":
            noise[n] = torch.rand(shape, generator=source, device=device).mul_(2).sub_(1)
        else:
            direction = torch.randn(shape, generator=source, device=device)
            radius = torch.rand((), generator=source, device=device) ** (1 / direction.numel())
            noise[n] = direction * (radius / direction.norm())
    return project(rows.images + per_image(rows.eps, rows.images).float() * noise, rows.images, rows.eps, norm)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The direction of unit `norm` along which a linear function with this gradient (N, C, H, W) rises fastest."""
    if norm == "linf":
        return gradient.sign()
    return gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-30).reshape(-1, 1, 1, 1)
