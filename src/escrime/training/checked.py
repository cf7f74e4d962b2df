"""Checks that settings and objectives share: unknown names and impossible numbers become one sentence."""

import math
from collections.abc import Callable, Collection
from dataclasses import Field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from ..errors import EscrimeError, nearest
from ..numerals import enormous, shown


class Checked:
    """Base of frozen keyword-only dataclasses: a keyword that is no field is refused, with the nearest valid one."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # every subclass is a dataclass

    def __new__(cls, *positional: object, **settings: object) -> Self:
        names = [field.name for field in fields(cls)]
        if positional:
            raise EscrimeError(f"{cls.__name__} takes its settings by name: {', '.join(names) or 'it has none'}.")
        for name in settings:
            if name not in names:
                known = ", ".join(names) or "none"
                raise EscrimeError(f"{cls.__name__} has no setting {name!r}; it has {known}.{nearest(name, names)}")
        return super().__new__(cls)

    def _put(self, check: Callable[..., object], *names: str, **limits: float) -> None:
        """Replace the fields `names` by what `check(name, value, **limits)` makes of them."""
        for name in names:
            object.__setattr__(self, name, check(name, getattr(self, name), **limits))


def check_choice(what: str, value: str, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise EscrimeError(f"{what} {value!r} is unknown; use one of {', '.join(choices)}.{nearest(str(value), choices)}")
    return value


def check_number(what: str, value: float, *, low: float = 0, high: float = math.inf, above: float | None = None) -> float:
    """Return `value` as a finite float in [low, high], and > `above` where that is given."""
    bad = isinstance(value, bool) or not isinstance(value, (int, float, Real)) or enormous(value) or not math.isfinite(value)
    if bad or not low <= value <= high or (above is not None and value <= above):
        bound = f"> {above:g}" if above is not None else f"≥ {low:g}"
        limit = f" and ≤ {high:g}" if math.isfinite(high) else ""
        raise EscrimeError(f"{what} = {shown(value)}; give a number {bound}{limit}.")
    return float(value)


def check_count(what: str, value: int, low: int = 1) -> int:
    """Return `value` as an int if it is a whole number ≥ `low` and below 2⁶³."""
    if isinstance(value, bool) or not isinstance(value, (int, Integral)) or value < low or enormous(value):
        limit = " and below 2⁶³" if enormous(value) else ""
        raise EscrimeError(f"{what} = {shown(value)}; give a whole number ≥ {low}{limit}.")
    return int(value)


def check_flag(what: str, value: bool) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise EscrimeError(f"{what} = {value!r}; give true or false.")
    return value
