"""Augmentation on the device, drawn per image and epoch, so that an image's view does not depend on its batch.

It runs on the raw uint8 batch, before the conversion to float: a quarter of the memory traffic.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..validation import check_choice

if TYPE_CHECKING:
    from .settings import TrainSettings

AUGMENTATIONS = {
    "none": "the images as they are (the paper)",
    "flip": "mirrored left to right with probability 1/2",
    "crop": "shifted by up to `crop_padding` of the side in each direction, the border filled by reflection",
    "resized-crop": "a random part of at least `crop_area` of the image, resized back (Szegedy et al., 2015, section 6)",
}
ASPECTS = (3 / 4, 4 / 3)  # width over height of a resized crop


def parse_augment(text: str) -> tuple[str, ...]:
    """The augmentations of a setting such as "flip+crop", in the order they are applied; EscrimeError for others."""
    names = [part.strip() for part in str(text).split("+")]
    chosen = {check_choice("augment", name, AUGMENTATIONS) for name in names}
    return tuple(name for name in ("resized-crop", "crop", "flip") if name in chosen)


def augment(images: Tensor, draw: Callable[[str], np.ndarray], settings: "TrainSettings") -> Tensor:
    """Apply the augmentations of `settings`, a TrainSettings, to uint8 `images` (N, C, H, W); `draw(purpose)` gives N
    fractions."""
    names, side = parse_augment(settings.augment), settings.crop_size or images.shape[-1]
    if "resized-crop" in names:
        areas, aspects, rows, columns = (draw(f"resized-{part}") for part in ("area", "aspect", "row", "column"))
        images = resized_crop(images, areas, aspects, rows, columns, settings.crop_area, side)
    if "crop" in names:
        images = crop(images, draw("crop-row"), draw("crop-column"), settings.crop_padding)
    if "flip" in names:
        mirrored = torch.from_numpy(draw("flip") < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def crop(images: Tensor, rows: np.ndarray, columns: np.ndarray, padding: float) -> Tensor:
    """Crop (N, C, H, W) back to its size from a border of round(padding · side) pixels, at fractions (N,) in [0, 1)."""
    down = _sources(rows, images.shape[2], padding).to(images.device)[:, None, :, None]
    across = _sources(columns, images.shape[3], padding).to(images.device)[:, None, None, :]
    image = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[image, channel, down, across]


def resized_crop(
    images: Tensor,
    areas: np.ndarray,
    aspects: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    smallest: float,
    side: int,
) -> Tensor:
    """A window of each image (N, C, H, W), between `smallest` and all of its area, resized bilinearly to (N, C, side, side)
    and rounded.

    The other arguments are fractions (N,) in [0, 1): where between the bounds the area lies and (in logarithm) the aspect
    ratio, width over height in ASPECTS, and where the window lies. A side longer than the image is cut to it.
    """
    area = smallest + (1 - smallest) * areas
    aspect = np.exp(math.log(ASPECTS[0]) + (math.log(ASPECTS[1]) - math.log(ASPECTS[0])) * aspects)
    width, height = (np.minimum(np.sqrt(share), 1.0) for share in (area * aspect, area / aspect))
    # The window in the coordinates of grid_sample, [-1, 1]: its center moves as far as its size leaves room.
    theta = np.zeros((len(images), 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 0, 2] = width, (1 - width) * (2 * columns - 1)
    theta[:, 1, 1], theta[:, 1, 2] = height, (1 - height) * (2 * rows - 1)
    grid = F.affine_grid(torch.from_numpy(theta).to(images.device), [*images.shape[:2], side, side], align_corners=False)
    sampled = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return sampled.round_().clamp_(0, 255).to(images.dtype)


def _sources(fractions: np.ndarray, side: int, padding: float) -> Tensor:
    """Which source pixel each of `side` output pixels shows, (N, side): a shifted range, reflected at the borders."""
    pad = min(round(padding * side), side - 1)
    offset = (fractions * (2 * pad + 1)).astype(np.int64) - pad
    index = np.abs(offset[:, None] + np.arange(side))
    return torch.from_numpy(np.where(index >= side, 2 * (side - 1) - index, index))
