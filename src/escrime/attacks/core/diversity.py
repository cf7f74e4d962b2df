"""Diverse inputs: what a network is asked about in place of an image, so that the gradient suits other networks too."""

import torch
from torch import Tensor

from ...randomness import fractions

SMALLEST = 0.9  # of the side, to which an image is shrunk at most


def diverse(images: Tensor, keys: Tensor, probability: float) -> Tensor:
    """T(x; p): with probability p an image is brought to a random smaller size (bilinear) and put at a random place on black,
    else it stays as it is.

    Sizes are whole numbers from ⌊0.9·side⌋ to side − 1. The authors enlarge instead, from 299 to at most 330 pixels, which only
    networks of any size take.

    Source: Xie, Zhang, Zhou, Bai, Wang, Ren, Yuille (2019), Improving transferability of adversarial examples with input
    diversity, section 3.3 (arXiv:1803.06978).

    Args:
        images: float32 (N, C, H, W).
        keys: Of the randomness of each, int64 (N,).
        probability: p.

    Returns:
        (N, C, H, W), differentiable; the same bits for an image whatever others there are.
    """
    drawn = fractions(keys, 4).double()
    moved = (drawn[:, 0] < probability)[:, None, None]
    made = (_resizing(side, drawn, 2 + axis) for axis, side in enumerate(images.shape[2:]))
    rows, columns = (torch.where(moved, one, torch.eye(one.shape[1]).to(one)).to(images) for one in made)
    return rows[:, None] @ images @ columns[:, None].mT


def _resizing(side: int, drawn: Tensor, at: int) -> Tensor:
    """The matrices (N, side, side) that shrink an axis to the size of drawn[:, 1] and put it at the place of drawn[:, at],
    numbers in [0, 1), all around it 0."""
    least = max(1, int(SMALLEST * side))
    size = (least + (drawn[:, 1] * (side - least)).floor()).clamp_max(max(1, side - 1))
    start = (drawn[:, at] * (side - size + 1)).floor()
    place = torch.arange(side)
    inside = place - start[:, None]  # of each row, in the shrunk image
    source = ((inside + 0.5) * (side / size)[:, None] - 0.5).clamp(0, side - 1)
    weights = (1 - (source[..., None] - place).abs()).clamp_min(0)
    return weights * ((inside >= 0) & (inside < size[:, None]))[..., None]
