"""Digital: what processing and storing does to an image. Hendrycks & Dietterich (2019), section 4 and appendix B."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from ..randomness import derive
from . import fields
from .filters import gaussian
from .table import SMALL, Levels, corruption


@corruption((0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15))
def contrast(levels: Levels, keys: Tensor, kept: float) -> Tensor:
    """Towards the mean of each channel, this share of the distance from it kept."""
    mean = levels.double().mean((2, 3), keepdim=True).float()  # a sum of whole numbers, exact in any order
    return (levels - mean) * kept + mean


# Of the displacement: its size and the σ of its smoothness; of the corners' shift; shares of the image's side.
_ELASTIC = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
_ELASTIC_SMALL = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))


@corruption(_ELASTIC, _ELASTIC_SMALL)
def elastic_transform(levels: Levels, keys: Tensor, shares: tuple[float, float, float]) -> Tensor:
    """A random affine map of three points, then a random smooth displacement of every pixel, both sampled bilinearly."""
    height, width = levels.shape[2:]
    side = min(height, width) * (1 if max(height, width) <= SMALL else 244 / 224)  # 244 by a slip of theirs, at 224 px
    size, sigma, shift = (side * share for share in shares)
    maps = _affine_maps(fields.uniform(keys, 3, 2).double().numpy() * (2 * shift) - shift, height, width)
    drawn = fields.uniform(derive(keys, 1), 2, height, width).mul_(2).sub_(1)
    smooth = gaussian(drawn, sigma, "reflect", 3).mul_(size) if size else torch.zeros_like(drawn)
    down, across = (at.float() for at in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    images = []
    for image, affine, move in zip(levels, maps.tolist(), smooth, strict=True):
        x, y = (a * across + b * down + c for a, b, c in affine)
        grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], dim=-1)
        image = grid_sample(image[None].contiguous(), grid[None], padding_mode="reflection", align_corners=True)
        grid = torch.stack([((across + move[0]) * 2 + 1) / width - 1, ((down + move[1]) * 2 + 1) / height - 1], dim=-1)
        images.append(grid_sample(image, grid[None], padding_mode="reflection", align_corners=False)[0])
    return torch.stack(images)


def _affine_maps(moves: np.ndarray, height: int, width: int) -> np.ndarray:
    """From where each pixel (x, y, 1) of the result is taken, (N, 2, 3): three points around the middle have been moved, by
    (N, 3, 2) px."""
    middle, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    before = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    after = np.concatenate([before + moves, np.ones((len(moves), 3, 1))], axis=2)
    if not reach:  # fewer than 3 px: the points are one
        return np.broadcast_to(np.eye(2, 3), (len(moves), 2, 3))
    return np.linalg.solve(after, np.broadcast_to(before.astype(float), (len(moves), 3, 2))).transpose(0, 2, 1)


@corruption((0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65))
def pixelate(levels: Levels, keys: Tensor, scale: float) -> Tensor:
    """Made smaller to this share of its side, each pixel the mean of a box, and large again."""

    def through(picture: Image.Image) -> Image.Image:
        size = [max(int(side * scale), 1) for side in picture.size]
        return picture.resize(size, Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)

    return _pictures(levels, through)


@corruption((25, 18, 15, 10, 7), (80, 65, 58, 50, 40))
def jpeg_compression(levels: Levels, keys: Tensor, quality: int) -> Tensor:
    """Stored as a real JPEG file of this quality, and read."""

    def through(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _pictures(levels, through)


def _pictures(levels: Levels, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Every image changed as a PIL picture, to and from which its channels go one by one: that takes the least time."""
    changed = torch.empty_like(levels)
    for row, image in zip(changed, levels.to(torch.uint8).numpy(), strict=True):
        channels = [Image.fromarray(channel) for channel in image]
        made = change(Image.merge("RGB", channels) if len(channels) > 1 else channels[0])
        for channel, plane in zip(row, made.split(), strict=True):
            channel.copy_(torch.from_numpy(np.array(plane)))
    return changed


@corruption(((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)), ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)), extra=True)
def saturate(levels: Levels, keys: Tensor, change: tuple[float, float]) -> Tensor:
    """a·S + b in HSV; gray, which has no hue, turns red, as hue 0 is. An image of one channel has no saturation and stays."""
    if levels.shape[1] == 1:
        return levels
    value, least = levels.amax(1, keepdim=True), levels.amin(1, keepdim=True)
    spread = value - least
    wanted = (spread / value.clamp(min=1) * change[0] + change[1]).clamp_(max=1) * value
    red = levels.new_tensor([0, 1, 1]).view(1, 3, 1, 1)
    return value - torch.where(spread > 0, (value - levels) / spread.clamp(min=1), red) * wanted
