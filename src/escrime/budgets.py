"""One ε, however it was written: how it is read, which two are the same, what lies within one, and the 8-bit levels it holds.

An ε is kept as the float that was asked for and is never rounded, so that no attack exceeds its budget by a last bit. 8/255,
the same with nine digits, and 8 · (1/255) are still one ε: whatever compares, groups or looks up an ε asks here. Nothing here
waits for torch, since a report does not.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from .errors import EscrimeError
from .validation import number_of, shown

if TYPE_CHECKING:
    import numpy as np

SAME = 6e-10  # a little more than rounding to nine digits moves an ε; earlier versions recorded some of them rounded so
LEVELS = 255  # of an 8-bit channel, above black
LONGEST = 100  # characters of an ε


def epsilon(value: float | int | str, largest: float = 1.0) -> float:
    """Return ε as a float from a number or a fraction written as text, such as 0.03 or "8/255".

    largest: what ε may be; by default 1, the whole color range, as in l_inf. Where the norm is known, `Norm.epsilon` knows it.

    Raises:
        EscrimeError: For anything that is not a finite number ≥ 0, and for more than `largest`.
    """
    if isinstance(value, bool):
        raise EscrimeError(f"ε = {value!r} is not a number; write 0.03 or '8/255'.")
    if isinstance(value, str) and len(value) > LONGEST:
        raise EscrimeError(f"ε = '{value[:20]}…' is {len(value):,} characters long; write 0.03 or '8/255'.")
    try:
        number = number_of(value.replace(" ", "")) if isinstance(value, str) else float(value)
    except ZeroDivisionError:
        raise EscrimeError(f"ε = {value!r} divides by zero; write a fraction of the color range such as '8/255'.") from None
    except OverflowError:
        raise EscrimeError(f"ε = {shown(value)} is larger than any number here; write 0.03 or '8/255'.") from None
    except (ValueError, TypeError):
        raise EscrimeError(f"ε = {value!r} is not a number; write 0.03 or '8/255'.") from None
    if not math.isfinite(number):
        raise EscrimeError(f"ε = {value!r} is not finite; write 0.03 or '8/255'.")
    if number < 0:
        raise EscrimeError(f"ε = {value!r} is negative; ε is a distance, so write {eps_text(-number)}.")
    if number > largest:
        raise EscrimeError(
            f"ε = {value!r} is larger than the whole color range [0, 1]; if it counts 8-bit levels, write '{number:g}/255'."
        )
    return number


def eps_text(eps: float, levels: bool = True) -> str:
    """ε as it was written, as far as a float can tell: 0.1, 4/255, 0.5/255. A short decimal number stays one, such as 0.2
    (51/255); what is none is a fraction of the 8-bit levels where it counts them to the last digit.

    levels: whether it may count 8-bit levels, as in l_inf (see `Norm.per_value`).
    """
    count, decimal = LEVELS * eps, f"{round(eps, 6) if eps > 1e-4 else eps:.6g}"
    if not levels or eps > 1 or same(eps, round(eps, 4)) or float(f"{eps:.2g}") == eps:
        return decimal if eps > SAME else "0"
    if count > 0.5 and abs(count - round(count)) <= 2e-4:  # what six digits, to which some tables round, leave of a level
        return f"{count:.0f}/{LEVELS}"
    return f"{count:.3g}/{LEVELS}" if math.isclose(float(f"{count:.3g}"), count, rel_tol=1e-12) else decimal


def distinct(epsilons: Iterable[float]) -> list[float]:
    """Each ε once, the first of those that are the same, in the order given.

    Raises:
        EscrimeError: For an ε above 0 and below 1e-9, which could not be told from 0.
    """
    kept: list[float] = []
    for eps in epsilons:
        if 0 < eps < 1e-9:
            raise EscrimeError(f"ε = {eps!r} is too small to be told from 0; use 0, or at least 1e-9.")
        if not any(same(eps, other) for other in kept):
            kept.append(eps)
    return kept


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


def unified(epsilons: Iterable[float]) -> "np.ndarray":
    """Every ε as the smallest of those that are the same: then equal floats are equal ε. Done twice it changes nothing."""
    import numpy as np  # which `escrime --help` need not wait for

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
