"""Weather: snow, frost, fog, bright light and what splashes on the lens. Hendrycks & Dietterich
(2019), section 4 and appendix B."""

from pathlib import Path

import torch
from torch import Tensor

from ..randomness import derive
from . import fields
from .droplets import mud, water
from .filters import moved, zoomed
from .ice import ice
from .table import Levels, corruption


@corruption(
    (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
)
def snow(levels: Levels, keys: Tensor, flakes: tuple[float, float, float, float, int, float, float]) -> Tensor:
    """Flakes of noise, enlarged, cut off and falling, over a paler image. The second layer is the first one turned by 180°.

    Of the parameters: mean and σ of the noise, enlargement, threshold, radius and σ of the motion, share of the image kept.
    """
    mean, sigma, zoom, least, radius, blur, kept = flakes
    noise = fields.normal(keys, 1, *levels.shape[2:]).mul_(sigma).add_(mean)
    angles = (fields.uniform(derive(keys, 1), 1)[:, 0] * 90 - 135).tolist()
    large = (zoomed(one, zoom) for one in noise)
    cut = (one.masked_fill(one < least, 0.0).clamp_(0, 1) for one in large)
    layers = [moved(one, 2 * radius + 1, blur, angle) for one, angle in zip(cut, angles, strict=True)]
    layer = torch.stack(layers).mul_(255).round_()
    paler = torch.maximum(levels, gray(levels) * 1.5 + 127.5)
    return (levels * kept + paler * (1 - kept)) + (layer + layer.flip(2, 3))


@corruption(
    ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)), ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
)
def frost(levels: Levels, keys: Tensor, shares: tuple[float, float], folder: str | Path | None = None) -> Tensor:
    """So much of the image and so much of a pane of ice: made up (see `ice`), or one of the photographs in a folder."""
    kept, added = shares
    return levels * kept + ice(keys, levels.shape[1], levels.shape[2], levels.shape[3], folder) * added


@corruption(((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)), ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)))
def fog(levels: Levels, keys: Tensor, cloud: tuple[float, float]) -> Tensor:
    """Clouds of this density and smoothness are added, and the sum is brought back to the range of the image."""
    density, decay = cloud
    clouds = fields.plasma(keys, levels.shape[2], levels.shape[3], decay)[:, None]
    brightest = levels.flatten(1).amax(1).view(-1, 1, 1, 1)
    return (levels + clouds * (255 * density)) * (brightest / (brightest + 255 * density))


@corruption((0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3))
def brightness(levels: Levels, keys: Tensor, more: float) -> Tensor:
    """V + c in HSV: the largest channel rises by that share of the range, the others in proportion."""
    value = levels.amax(1, keepdim=True)
    brighter = (value + 255 * more).clamp_(max=255)
    return torch.where(value > 0, levels * (brighter / value), brighter)


@corruption(
    (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    extra=True,
)
def spatter(levels: Levels, keys: Tensor, drops: tuple[float, float, float, float, float, bool]) -> Tensor:
    """Drops of water, which shine, or of mud, which hide.

    Of the parameters: mean, σ and smoothness of the noise that they are the peaks of, its threshold, how bright the water or
    how smooth the mud is, and whether it is mud.
    """
    mean, sigma, smooth, least, strength, muddy = drops
    noise = fields.normal(keys, 1, *levels.shape[2:]).mul_(sigma).add_(mean)
    if muddy:
        cover, color = mud(noise, smooth, least, strength), (63.0, 42.0, 20.0)
        levels = levels * (1 - cover)
    else:
        cover, color = water(noise, smooth, least, strength), (175.0, 238.0, 238.0)
    shade = levels.new_tensor(color).view(1, 3, 1, 1)
    return levels + cover * (shade if levels.shape[1] == 3 else gray(shade))


def gray(levels: Tensor) -> Tensor:
    """Luma by ITU-R BT.601, (N, 1, H, W)."""
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.split(1, dim=1)
    return (red * 0.299 + green * 0.587) + blue * 0.114
