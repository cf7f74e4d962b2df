"""Noise: what a sensor adds in low light, and what a faulty one does. Hendrycks & Dietterich (2019), section 4 and
appendix B."""

from functools import lru_cache

import torch
from scipy.stats import poisson
from torch import Tensor

from . import fields
from .table import Levels, corruption


@corruption((0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10))
def gaussian_noise(levels: Levels, keys: Tensor, sigma: float) -> Tensor:
    """x + σ·n, σ a fraction of the color range."""
    return fields.normal(keys, *levels.shape[1:]).mul_(255 * sigma).add_(levels)


@corruption((60, 25, 12, 5, 3), (500, 250, 100, 75, 50))
def shot_noise(levels: Levels, keys: Tensor, photons: int) -> Tensor:
    """Poisson(x · photons) / photons: so many photons make white, and every count above that is white too.

    A level's counts have one distribution, so each is drawn from a table by Walker's alias method: one uniform number names a
    count and says whether to take that or the other one kept with it.
    """
    share, other = _aliases(photons)
    drawn = fields.uniform(keys, *levels.shape[1:]).mul_(photons + 1)
    count = drawn.to(torch.int32)
    entry = levels.to(torch.int32).mul_(photons + 1).add_(count).flatten()
    named = drawn.sub_(count).flatten() < share.index_select(0, entry)
    taken = torch.where(named, count.flatten(), other.index_select(0, entry))
    return taken.float().mul_(255 / photons).view_as(levels)


@corruption((0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07))
def impulse_noise(levels: Levels, keys: Tensor, amount: float) -> Tensor:
    """Salt and pepper: this share of the color values become 0 or 255."""
    drawn = fields.uniform(keys, *levels.shape[1:])
    salt = (drawn < amount / 2).float() * 255
    return torch.where(drawn < amount, salt, levels)


@corruption((0.15, 0.2, 0.35, 0.45, 0.6), (0.06, 0.1, 0.12, 0.16, 0.2), extra=True)
def speckle_noise(levels: Levels, keys: Tensor, sigma: float) -> Tensor:
    """x + σ·n·x: the brighter, the more noise."""
    return fields.normal(keys, *levels.shape[1:]).mul_(sigma).mul_(levels).add_(levels)


@lru_cache(16)
def _aliases(photons: int) -> tuple[Tensor, Tensor]:
    """Of every level and count from 0 to `photons`: the share in which it is taken when it is named, and the other count;
    each (256 · (photons + 1),)."""
    levels = torch.arange(256, dtype=torch.float64)
    chance = torch.from_numpy(poisson.pmf(torch.arange(photons + 1), levels[:, None] / 255 * photons))
    chance[:, -1] += (1 - chance.sum(1)).clamp(min=0)  # all counts above
    left, row = chance * (photons + 1) / chance.sum(1, keepdim=True), torch.arange(256)
    share, other = torch.ones_like(left), torch.arange(photons + 1).repeat(256, 1)
    open_ = torch.ones_like(left, dtype=torch.bool)
    for _ in range(photons):  # the least likely count is filled up to 1 by the likeliest one
        low = left.where(open_, torch.inf).argmin(1)
        high = left.where(open_, -torch.inf).argmax(1)
        share[row, low], other[row, low] = left[row, low], high
        left[row, high] -= 1 - left[row, low]
        open_[row, low] = False
    return share.float().flatten(), other.to(torch.int32).flatten()
