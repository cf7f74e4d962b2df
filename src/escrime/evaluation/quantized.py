"""Adversarial examples as a picture file holds them, for models that treat 8-bit images otherwise than others."""

import torch
from torch import Tensor

from ..attacks.core.masks import confined
from ..budgets import LEVELS
from ..norms import Norm


def near_the_grid(moved: Tensor, images: Tensor, eps: float, norm: Norm, mask: Tensor | None = None) -> Tensor:
    """`moved` (N, C, H, W) rounded to 8 bits and put back into the budget, which may take it off a level by a last bit. What is
    outside of the mask (bool, (1, 1, H, W)) is as in the image."""
    return confined(norm.project(norm.to_8_bits(moved, images, eps), images, eps), images, mask)


def on_the_grid(moved: Tensor, images: Tensor, eps: float, norm: Norm, mask: Tensor | None = None) -> Tensor:
    """`moved` (N, C, H, W) as 8-bit images, every value the float32 of a whole level, strictly within the budget: where the
    float32 of a level lies beyond ε by a last bit the level before it is taken, and where there is none, `moved` stays.
    What is outside of the mask (bool, (1, 1, H, W)) is as in the image. What is rendered stays as its rule makes it."""
    if norm.rendered:
        return moved
    saved = norm.to_8_bits(moved, images, eps)
    pulled = ((saved * LEVELS).round() - (saved - images).sign()) / LEVELS
    saved = confined(torch.where(norm.too_far(saved, images, eps), pulled, saved).clamp(0, 1), images, mask)
    return torch.where(norm.inside(saved, images, eps).reshape(-1, 1, 1, 1), saved, moved)
