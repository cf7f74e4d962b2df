"""Adversarial examples as a picture file holds them, for models that treat 8-bit images otherwise than others."""

import torch
from torch import Tensor

from ..threat import LEVELS, distance, inside, per_image, project, to_8_bits


def near_the_grid(moved: Tensor, images: Tensor, eps: float, norm: str) -> Tensor:
    """`moved` (N, C, H, W) rounded to 8 bits and put back into the budget, which may take it off a level by a last bit."""
    return project(to_8_bits(moved, images, eps, norm), images, eps, norm)


def on_the_grid(moved: Tensor, images: Tensor, eps: float, norm: str) -> Tensor:
    """`moved` (N, C, H, W) as 8-bit images, every value the float32 of a whole level, strictly within the budget: where the
    float32 of a level lies beyond ε by a last bit the level before it is taken, and where there is none, `moved` stays."""
    saved = to_8_bits(moved, images, eps, norm)
    if norm == "linf":
        beyond = (saved.double() - images.double()).abs() > per_image(eps, images)
        pulled = ((saved * LEVELS).round() - (saved - images).sign()) / LEVELS
    else:
        beyond = (distance(saved, images, norm) > eps).reshape(-1, 1, 1, 1) & (saved != images)
        last = (saved - images).abs().flatten(1).argmax(1)  # one level of one value is more than enough
        beyond &= torch.nn.functional.one_hot(last, images[0].numel()).bool().view_as(images)
        pulled = ((saved * LEVELS).round() - (saved - images).sign()) / LEVELS
    saved = torch.where(beyond, pulled, saved).clamp(0, 1)
    return torch.where(inside(saved, images, eps, norm).reshape(-1, 1, 1, 1), saved, moved)
