"""A measured number with its interval: proportions (Wilson) and paired differences of two proportions."""

from dataclasses import dataclass

import numpy as np

from ..evaluation.statistics import wilson
from .words import percent, points_text


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


def paired_difference(first: np.ndarray, second: np.ndarray, eps: float = 0.0) -> Point:
    """mean(first) − mean(second) over the images both scored, with a 95 % interval.

    Wilson limits of each share, squared and added with the correlation of the pairs, so that the interval is neither
    empty at 0 % and 100 % nor as wide as for two unrelated samples. Source: Newcombe (1998), Improved confidence
    intervals for the difference between binomial proportions based on paired data, method 8.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = first[both], second[both]
    a, b = proportion(first), proportion(second)
    if not a.n:
        return Point(eps, float("nan"), float("nan"), float("nan"), 0)
    spread = first.std() * second.std()
    phi = float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread > 1e-12 else 0.0
    down, up = (a.value - a.low, b.high - b.value), (a.high - a.value, b.value - b.low)
    reach = [max(x * x - 2 * phi * x * y + y * y, 0.0) ** 0.5 for x, y in (down, up)]
    value = a.value - b.value
    return Point(eps, value, max(-1.0, value - reach[0]), min(1.0, value + reach[1]), a.n)
