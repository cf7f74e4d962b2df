"""Blur: a lens out of focus, frosted glass, a moving and a zooming camera. Hendrycks & Dietterich (2019), section 4 and
appendix B."""

import numpy as np
import torch
from torch import Tensor

from . import fields
from .filters import correlate, disk, gaussian, moved, zoomed
from .table import Levels, corruption


@corruption(((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)), ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)))
def defocus_blur(levels: Levels, keys: Tensor, lens: tuple[float, float]) -> Tensor:
    """Every point a disk, of this radius in px and with a rim softened by σ."""
    kernel = disk(*lens)
    return torch.stack([correlate(image, kernel) for image in levels])


@corruption(
    ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
)
def glass_blur(levels: Levels, keys: Tensor, glass: tuple[float, int, int]) -> Tensor:
    """A Gaussian blur of σ, then so many rounds in which every pixel is taken from one up to `reach` px away, then the blur.

    In the authors' code two neighbors are to be swapped, but the rows of a numpy array are views and one overwrites the other:
    their pictures are of copies, and so are these.
    """
    sigma, reach, rounds = glass
    mixed = gaussian(levels, sigma).add_(1 / 1024).floor_().flatten(2)
    drawn = fields.uniform(keys, rounds, 2, *levels.shape[2:])
    for one in range(rounds):
        source = _sources((drawn[:, one] * (2 * reach)).long() - reach, reach)
        mixed = mixed.gather(2, source[:, None].expand_as(mixed))
    return gaussian(mixed.view_as(levels), sigma)


def _sources(offset: Tensor, reach: int) -> Tensor:
    """Where each pixel of a round ends up to be copied from.

    The pixels are visited from the last to the first, each copies the one at its offset, and that may be a copy itself. Every
    chain of copies ends at a pixel that is still as it was; doubling the links finds all ends in log₂ of the longest chain.

    Args:
        offset: Down and to the right, (N, 2, H, W).
        reach: Of the offsets, px. As many at the top and left, and one fewer at the others, are left out.

    Returns:
        int64 (N, H · W), of flattened pixels.
    """
    height, width = offset.shape[2:]
    size = height * width
    own = torch.arange(size)
    row, column = own // width, own % width
    visited = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    link = own + (offset[:, 0] * width + offset[:, 1]).flatten(1).where(visited, 0)
    done = (link <= own) | ~visited[link]  # that pixel is visited later or never: it is as it was
    while not done.all():
        done, link = done | done.gather(1, link), link.where(done, link.gather(1, link))
    return link


@corruption(((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)))
def motion_blur(levels: Levels, keys: Tensor, motion: tuple[int, float]) -> Tensor:
    """Along a line that is at most 45° steep: half a Gaussian of σ over 2 · radius + 1 px."""
    radius, sigma = motion
    angles = (fields.uniform(keys, 1)[:, 0] * 90 - 45).tolist()
    return torch.stack([moved(image, 2 * radius + 1, sigma, angle) for image, angle in zip(levels, angles, strict=True)])


@corruption(
    ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
)
def zoom_blur(levels: Levels, keys: Tensor, zoom: tuple[float, float]) -> Tensor:
    """The mean of the image and its enlargements from 1 up to a factor, in steps."""
    factors = np.arange(1, *zoom).tolist()
    means = []
    for image in levels:
        total = image.clone()
        for factor in factors:
            total += zoomed(image, factor)
        means.append(total / (len(factors) + 1))
    return torch.stack(means)


@corruption((1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1), extra=True)
def gaussian_blur(levels: Levels, keys: Tensor, sigma: float) -> Tensor:
    """A Gaussian of σ in px."""
    return gaussian(levels, sigma)
