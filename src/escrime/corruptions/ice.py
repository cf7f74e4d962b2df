"""Panes of ice for `weather.frost`.

The authors lay one of five photographs of frost over an image, a random part of it. escrime has no photographs to give away, so
its five panes are made up, once: clouds of rime, veins between them, and needles that grow in a few directions, with the mean
color and the contrast measured on their five. With a folder, such as theirs, the panes are the photographs in it.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import EscrimeError
from ..randomness import as_keys, fractions
from . import fields
from .filters import moved
from .table import SMALL

# Mean color, then the deviation of brightness, of each of the five photographs, in levels. Two of theirs are the same one.
_PANES = ((78, 149, 166, 20), (201, 205, 215, 22), (201, 205, 215, 22), (138, 153, 165, 29), (112, 123, 135, 43))
_SHRUNK = 0.2  # a photograph is first made this much smaller for small images, and the needles are that much shorter
_NEEDLE = 61  # px


def ice(keys: Tensor, channels: int, height: int, width: int, folder: str | Path | None = None) -> Tensor:
    """For each key (N,) a part of one of the panes, in levels (N, channels, height, width) from 0 to 255.

    Args:
        keys: (N,).
        channels: 1 or 3.
        height: In px.
        width: In px.
        folder: Of photographs; None for panes that are made up.

    Returns:
        float32.

    Raises:
        EscrimeError: If there is no picture in the folder.
    """
    files = () if folder is None else _photographs(folder)
    parts = []
    for choice, down, across in fractions(keys, 3).tolist():
        number = int(choice * len(files or _PANES))
        pane = _read(files[number], height, width) if files else _made(number, height, width)
        top, left = int(down * (pane.shape[1] - height + 1)), int(across * (pane.shape[2] - width + 1))
        parts.append(pane[:, top : top + height, left : left + width])
    drawn = torch.stack(parts)
    return drawn if channels == 3 else drawn.double().mean(1, keepdim=True).float()


@lru_cache(5 * 4)
def _made(number: int, height: int, width: int) -> Tensor:
    """A pane twice as high and wide as an image, (3, 2 · height, 2 · width)."""
    keys = as_keys([("ice", number, what) for what in ("rime", "veins", "needles", "angles")])
    tall, wide = 2 * height, 2 * width
    length = _NEEDLE if max(height, width) > SMALL else int(_NEEDLE * _SHRUNK)
    rime = fields.plasma(keys[:1], tall, wide, 1.3)[0]
    veins = (fields.plasma(keys[1:2], tall, wide, 1.25)[0] - 0.5).abs().clamp_(max=0.25).neg_()
    noise, angles = fields.normal(keys[2:3], 3, tall, wide)[0], fractions(keys[3:], 3)[0] * 180 - 90
    needles = torch.stack([moved(one[None], length, length / 3, angle)[0] for one, angle in zip(noise, angles.tolist())])
    texture = _standard(_standard(rime) + _standard(veins) * 0.5 + _standard(needles.amax(0)))
    *color, spread = _PANES[number]
    return (torch.tensor(color).view(3, 1, 1) + texture * spread).clamp_(0, 255)


def _standard(field: Tensor) -> Tensor:
    """With mean 0 and deviation 1."""
    return (field - field.mean()) / field.std().clamp(min=1e-6)


def _photographs(folder: str | Path) -> tuple[Path, ...]:
    files = tuple(sorted(file for file in Path(folder).glob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg")))
    if not files:
        raise EscrimeError(f"frost={str(folder)!r} holds no .png or .jpg picture; give a folder of photographs of frost.")
    return files


@lru_cache(32)
def _read(file: Path, height: int, width: int) -> Tensor:
    """A photograph (3, H, W), enlarged where it is smaller than the image."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    scale = _SHRUNK if max(height, width) <= SMALL else 1.0
    least = max(height / picture.height, width / picture.width)
    scale = scale if scale >= least else 1.1 * least  # as the reference package, so that there is a choice
    size = max(round(picture.width * scale), width), max(round(picture.height * scale), height)
    array = np.array(picture.resize(size, Image.Resampling.BICUBIC))
    return torch.from_numpy(array).permute(2, 0, 1).float().contiguous()
