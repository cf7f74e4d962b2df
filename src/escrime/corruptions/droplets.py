"""The shape of drops on a lens, for `weather.spatter`: peaks of smooth noise, and for water the light along their rims."""

import torch
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import pad

from .filters import EDGE, MIRROR, gaussian, padded

FAR = 20.0  # px; how far from the rim of a drop its light reaches
ALL_SIDES = [[1, 1, 1]] * 3


def mud(noise: Tensor, smooth: float, least: float, soft: float) -> Tensor:
    """How much of each pixel is hidden, (N, 1, H, W)."""
    cover = gaussian((gaussian(noise, smooth) > least).float(), soft)
    return cover.masked_fill(cover < 0.8, 0.0)


def water(noise: Tensor, smooth: float, least: float, strength: float) -> Tensor:
    """How much light each pixel gains, (N, 1, H, W) up to `strength`: the distance from the rims, equalized, in relief."""
    layer = gaussian(noise, smooth)
    layer = layer.masked_fill(layer < least, 0.0).mul_(255).add_(1 / 1024).floor_().remainder_(256)  # as uint8 wraps
    near = [_relief(_equalized(_blur(_distance(rims(one))).add_(1 / 1024).floor_())) for one in layer[:, 0]]
    light = layer * _blur(torch.stack(near)[:, None]).add_(0.5).floor_()
    largest = light.flatten(1).amax(1).clamp(min=1).view(-1, 1, 1, 1)
    return light / largest * strength


def rims(layer: Tensor, low: int = 50, high: int = 150) -> Tensor:
    """Canny's edges (1986) of levels (H, W), as OpenCV finds them: Sobel slopes, |x| + |y|, thinned, linked; (H, W) bool."""
    height, width = layer.shape
    near = padded(layer, (1, 1, 1, 1), EDGE)

    def at(down: int, right: int, of: Tensor = near) -> Tensor:
        return of[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    x = (at(-1, 1) - at(-1, -1)) + 2 * (at(0, 1) - at(0, -1)) + (at(1, 1) - at(1, -1))
    y = (at(1, -1) - at(-1, -1)) + 2 * (at(1, 0) - at(-1, 0)) + (at(1, 1) - at(-1, 1))
    slope = x.abs() + y.abs()
    around = pad(slope, (1, 1, 1, 1))
    flat, steep = y.abs() < x.abs() * 0.41421356, y.abs() > x.abs() * 2.41421356
    same = (x < 0) == (y < 0)
    level = (slope > at(0, -1, around)) & (slope >= at(0, 1, around))
    upright = (slope > at(-1, 0, around)) & (slope >= at(1, 0, around))
    falling = (slope > at(-1, -1, around)) & (slope > at(1, 1, around))
    rising = (slope > at(-1, 1, around)) & (slope > at(1, -1, around))
    thin = (slope > low) & torch.where(flat, level, torch.where(steep, upright, torch.where(same, falling, rising)))
    pieces, count = label(thin.numpy(), ALL_SIDES)
    kept = torch.zeros(count + 1, dtype=torch.bool)
    named = torch.from_numpy(pieces).long()
    kept[named[thin & (slope > high)]] = True
    return kept[named]


def _distance(edges: Tensor) -> Tensor:
    """Of each pixel (H, W) from the nearest edge, in px, at most FAR."""
    height, width = edges.shape
    place = torch.arange(width, dtype=torch.float32).expand(height, width)
    left = place - torch.where(edges, place, -FAR - width).cummax(1).values
    right = (torch.where(edges, place, FAR + 2 * width).flip(1).cummin(1).values.flip(1)) - place
    across = torch.minimum(left, right).clamp_(max=FAR).square_()
    reach = int(FAR)
    tall = pad(across, (0, 0, reach, reach), value=FAR**2)
    nearest = across
    for step in range(1, reach + 1):
        nearest = torch.minimum(nearest, tall[reach - step : reach - step + height] + step**2)
        nearest = torch.minimum(nearest, tall[reach + step : reach + step + height] + step**2)
    return nearest.clamp(max=FAR**2).sqrt()


def _equalized(levels: Tensor) -> Tensor:
    """Levels (H, W) through the curve that makes them equally frequent."""
    index = levels.long()
    counts = torch.bincount(index.flatten(), minlength=256)
    first = int(counts.nonzero()[0])
    rest = index.numel() - int(counts[first])
    if not rest:
        return levels
    counts[first] = 0
    return (counts.cumsum(0).double() * (255 / rest)).round()[index].float()


def _relief(levels: Tensor) -> Tensor:
    """Lit from the lower right, (H, W)."""
    height, width = levels.shape
    near = padded(levels, (1, 1, 1, 1), MIRROR)
    total = torch.zeros_like(levels)
    for row, weights in enumerate(((-2, -1, 0), (-1, 1, 1), (0, 1, 2))):
        for column, weight in enumerate(weights):
            total += near[row : row + height, column : column + width] * weight
    return total.clamp_(0, 255)


def _blur(images: Tensor) -> Tensor:
    """The mean of 3 × 3 pixels, of (..., H, W)."""
    near = padded(images, (1, 1, 1, 1), MIRROR)
    height, width = images.shape[-2:]
    rows = (near[..., :height, :] + near[..., 1 : 1 + height, :]) + near[..., 2:, :]
    return ((rows[..., :width] + rows[..., 1 : 1 + width]) + rows[..., 2:]) / 9
