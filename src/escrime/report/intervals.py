"""A measured number with its interval: a proportion, or a paired difference of two."""

from dataclasses import dataclass

import numpy as np

from ..results.statistics import paired_difference, wilson
from .formatting import percent, points_text


@dataclass(frozen=True)
class Point:
    """A share, or a difference of shares, with its 95 % interval, as fractions of 1, over `n` images at ε."""

    eps: float
    value: float
    low: float
    high: float
    n: int

    @property
    def text(self) -> str:
        """As a share: "98.0% [96.1, 99.0]"."""
        return f"{percent(self.value)} [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    @property
    def points(self) -> str:
        """As a difference: "+12.0 points [+9.1, +14.8]"."""
        return f"{points_text(self.value)} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]".replace("-", "−")

    def __neg__(self) -> "Point":
        return Point(self.eps, -self.value, -self.high, -self.low, self.n)


def proportion(scores: np.ndarray, eps: float = 0.0) -> Point:
    """The mean of per-image scores in [0, 1] (NaN = not measured) with its 95 % Wilson interval."""
    scores = scores[~np.isnan(scores)]
    n = len(scores)
    low, high = wilson(float(scores.sum()), n)
    return Point(eps, float(scores.mean()) if n else float("nan"), low, high, n)


def difference(first: np.ndarray, second: np.ndarray, eps: float = 0.0) -> Point:
    """mean(first) − mean(second) over the images both scored, with its paired 95 % interval."""
    return Point(eps, *paired_difference(first, second))
