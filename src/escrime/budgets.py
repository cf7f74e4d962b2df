"""One ε, however it was written: which two are the same, what lies within one, and the 8-bit levels it holds.

An ε is kept as the float that was asked for and is never rounded, so that no attack exceeds its budget by a last bit. 8/255,
the same with nine digits, and 8 · (1/255) are still one ε: whatever compares, groups or looks up an ε asks here. Nothing here
waits for torch, since a report does not.
"""

from collections.abc import Iterable
from typing import Any, overload

import numpy as np

SAME = 6e-10  # a little more than rounding to nine digits moves an ε; earlier versions recorded some of them rounded so
NORMS = ("linf", "l2")
LEVELS = 255  # of an 8-bit channel, above black
NORMS = ("linf", "l2")


@overload
def same(eps: float, other: float) -> bool: ...
@overload
def same(eps: Any, other: Any) -> Any: ...
def same(eps: Any, other: Any) -> Any:
    """Whether two ε are one and the same; numbers, arrays or columns."""
    return abs(eps - other) <= SAME


@overload
def within(eps: float, limit: float) -> bool: ...
@overload
def within(eps: Any, limit: Any) -> Any: ...
def within(eps: Any, limit: Any) -> Any:
    """Whether ε is no larger than `limit`: what was measured at `eps` is allowed there; numbers, arrays or columns."""
    return eps <= limit + SAME


def unified(epsilons: Iterable[float]) -> np.ndarray:
    """Every ε as the smallest of those that are the same: then equal floats are equal ε. Done twice it changes nothing."""
    found, places = np.unique(np.asarray(epsilons, dtype=float), return_inverse=True)
    for i in range(1, len(found)):
        if same(found[i], found[i - 1]):
            found[i] = found[i - 1]
    return found[places]


def shared_grids(grids: dict[str, list[float]]) -> dict[str, list[float]]:
    """The ε grids of several attacks, with one float for each ε of them all."""
    floats = iter(unified([eps for grid in grids.values() for eps in grid]).tolist())
    return {label: [next(floats) for _ in grid] for label, grid in grids.items()}


def levels_within(eps: float) -> int:
    """How many whole 8-bit levels lie within ε in l_inf: 0 for an ε below 1/255."""
    return int((eps + SAME) * LEVELS)
