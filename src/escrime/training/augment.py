"""Augmentation on the device, drawn per image and epoch, so that an image's view does not depend on its batch.

It runs on the raw uint8 batch, before the conversion to float: a quarter of the memory traffic.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .checked import check_choice

AUGMENTATIONS = {
    "none": "the images as they are (the paper)",
    "flip": "mirrored left to right with probability 1/2",
    "crop": "shifted by up to `crop_padding` of the side in each direction, the border filled by reflection",
}


def parse_augment(text: str) -> tuple[str, ...]:
    """The augmentations of a setting such as "flip+crop", in the order they are applied; EscrimeError for others."""
    names = [part.strip() for part in str(text).split("+")]
    chosen = {check_choice("augment", name, AUGMENTATIONS) for name in names}
    return tuple(name for name in ("crop", "flip") if name in chosen)


def augment(images: Tensor, names: tuple[str, ...], draw: Callable[[str], np.ndarray], padding: float) -> Tensor:
    """Apply `names` (from `parse_augment`) to `images` (N, C, H, W) of any dtype; `draw(purpose)` gives N fractions."""
    if "crop" in names:
        images = crop(images, draw("crop-row"), draw("crop-column"), padding)
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


def _sources(fractions: np.ndarray, side: int, padding: float) -> Tensor:
    """Which source pixel each of `side` output pixels shows, (N, side): a shifted range, reflected at the borders."""
    pad = min(round(padding * side), side - 1)
    offset = (fractions * (2 * pad + 1)).astype(np.int64) - pad
    index = np.abs(offset[:, None] + np.arange(side))
    return torch.from_numpy(np.where(index >= side, 2 * (side - 1) - index, index))
