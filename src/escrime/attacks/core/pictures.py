"""Perturbations as picture files: to look at, and of a patch to print and to read again."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...budgets import LEVELS
from ...data.decode import read_photo
from ...errors import EscrimeError
from ...files import whole

CHANNELS = (1, 3)  # gray, and red, green and blue


def write_picture(path: Path | str, picture: Tensor, follow: bool = True) -> None:
    """Write an image as a PNG, whole or not at all.

    Args:
        path: The file.
        picture: (C, H, W) in [0, 1], rounded to the nearest levels k/255.
        follow: As `files.whole` takes it.

    Raises:
        EscrimeError: For another number of channels than a picture has, and where the file cannot be written.
    """
    if len(picture) not in CHANNELS:
        raise EscrimeError(f"a picture has 1 or 3 channels, and this has {len(picture)}; save the tensor itself.")
    levels = (picture.double() * LEVELS).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    with whole(path, follow=follow) as new:
        Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(new, format="PNG")


def read_picture(path: Path | str, channels: int) -> Tensor:
    """An image from a picture file.

    Args:
        path: The file.
        channels: 3, or 1 for a gray one.

    Returns:
        float32 (C, H, W) in [0, 1].

    Raises:
        EscrimeError: For a file that is no picture, one of colors where it should be gray, and other channels.
    """
    if channels not in CHANNELS:
        raise EscrimeError(f"channels = {channels!r} has no picture; give 1 or 3.")
    colors = np.asarray(read_photo(path))
    if channels == 1 and (colors != colors[:, :, :1]).any():
        raise EscrimeError(f"{Path(path).name} has colors, and the images have one channel; save it in gray.")
    return torch.from_numpy(colors[:, :, :channels].copy()).permute(2, 0, 1).float() / LEVELS
