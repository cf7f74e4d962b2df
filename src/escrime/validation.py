"""Values from outside: numbers, choices, switches, times. Each comes back as what the code works with, or is refused in one
sentence with the value, what is wrong with it, and the remedy. (Images and labels: checks.py. An ε: budgets.py.)

Numbers are read in a time that does not grow with their value, and shown however many digits they have. Nothing here waits for
torch.
"""

import math
import re
from collections.abc import Callable, Collection
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from .errors import EscrimeError, nearest

BOUND = 2**63  # of a whole number in a setting: what records, files of a run, and sums of floats hold
CHANNELS = 3  # of a color image
UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def check_whole(name: str, value: object, low: int | None = 1, *, of: str = "", hint: str = "") -> int:
    """Refuse what is no whole number below 2⁶³; True and 1.0 are none.

    Args:
        name: What the message calls the value.
        value: Whatever was given.
        low: The least that passes; None: any, negative too.
        of: What it counts, such as "images".
        hint: The rest of the remedy, such as "such as 8" or "or leave it out".

    Returns:
        `value` as an int.

    Raises:
        EscrimeError: For anything else, in one sentence; so do the other checks here.
    """
    if is_whole(value) and not enormous(int(value)) and (low is None or int(value) >= low):
        return int(value)
    bounds = ("" if low is None else f" from {low}") + (" below 2⁶³" if enormous(value) else "")
    rest = f", {hint}" if hint else ""
    if of:
        raise EscrimeError(f"{name} = {shown(value)} is no number of {of}; give a whole number{bounds}{rest}.")
    raise EscrimeError(f"{name} = {shown(value)} is not a whole number{bounds}; give one{rest}.")


def check_seed(seed: object) -> int:
    """Return `seed` if records can hold it: a whole number from 0 below 2⁶³."""
    return check_whole("seed", seed, 0, hint="such as 0")


def check_real(
    name: str,
    value: object,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    hint: str = "",
) -> float:
    """Return `value` as a float, if it is a finite number, low ≤ value ≤ high and above < value < below, as far as those are
    given. hint: as of check_whole."""
    if isinstance(value, Real) and not isinstance(value, bool) and not enormous(value) and math.isfinite(value):
        number = float(value)
        inside = (low is None or number >= low) and (high is None or number <= high)
        if inside and (above is None or number > above) and (below is None or number < below):
            return number
    if low is not None and high is not None:
        words = [f"from {low:g} to {high:g}"]
    else:
        limits = {"from": low, "above": above, "at most": high, "below": below}
        words = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
    kind = f"a number {' and '.join(words)}" if words else "a finite number"
    raise EscrimeError(f"{name} = {shown(value)} is not {kind}; give one{f', {hint}' if hint else ''}.")


def check_choice(name: str, value: object, choices: Collection[str], *, hint: str = "") -> str:
    """Return `value` if it is one of `choices`, which are all named, the nearest as what may have been meant. hint: a sentence
    in place of that, after a space."""
    if isinstance(value, str) and value in choices:
        return value
    raise EscrimeError(f"{name} {shown(value)} is unknown; use one of {', '.join(choices)}.{hint or nearest(value, choices)}")


def check_flag(name: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if isinstance(value, bool):
        return value
    raise EscrimeError(f"{name} = {shown(value)} is no switch; give true or false.")


def check_type(name: str, value: Any, kind: Any, *, hint: str = "") -> Any:
    """Return `value` if it is what the type hint `kind` says: numbers as check_whole and check_real read them, switches as
    check_flag, choices of Literal, texts, instances of a class, tuples (which a list becomes), any of a union, None where the
    hint allows it. What other hints mean is not checked. hint: as of check_whole."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _check_union(name, value, inner, hint)
    if kind is bool:
        return check_flag(name, value)
    if kind is int:
        return check_whole(name, value, None, hint=hint)
    if kind is float:
        number = check_real(name, value, hint=hint)
        return value if type(value) is int else number  # 1 is shown as it was given
    if origin is Literal:
        return value if value in inner else check_choice(name, value, [str(choice) for choice in inner])
    expected, fits = NoneType if kind is None else origin or kind, True
    if expected is tuple and isinstance(value, (list, tuple)):
        every = inner[:1] * len(value) if inner[1:] == (...,) else inner or (Any,) * len(value)
        if fits := len(every) == len(value):
            return tuple(check_type(name, each, of, hint=hint) for each, of in zip(value, every))
    if isinstance(expected, type) and not (fits and _is_one(value, expected)):
        known = {str: "text", NoneType: "None", tuple: "a tuple of what it holds"}
        rest = f", {hint}" if hint else ""
        raise EscrimeError(f"{name} = {shown(value)} is not {known.get(expected, f'a {expected.__name__}')}; give that{rest}.")
    return value


def _check_union(name: str, value: Any, kinds: tuple[Any, ...], hint: str) -> Any:
    """`value` as the first of the kinds that it is; where it is none, the refusal is that of the first."""
    if value is None and NoneType in kinds:
        return None
    hint = ", ".join(filter(None, (hint, "or leave it out" if NoneType in kinds else "")))
    refusal: EscrimeError | None = None
    for kind in kinds:
        try:
            return check_type(name, value, kind, hint=hint)
        except EscrimeError as error:
            refusal = refusal or error
    assert refusal is not None  # no union is empty
    raise refusal


def _is_one(value: object, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that is not to be asked
        return True


class CheckedFields:
    """Base of frozen dataclasses that check their fields."""

    def _put(self, check: Callable[..., object], *names: str, **limits: Any) -> None:
        """Replace the fields `names` by what `check(name, value, **limits)` makes of them."""
        for name in names:
            object.__setattr__(self, name, check(name, getattr(self, name), **limits))


def check_time(name: str, value: object) -> float:
    """Return a time above 0 in seconds, from a number of them or from text such as "90s", "10min" or "2h"."""
    if isinstance(value, str):
        number = value.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = UNITS.get(value.strip()[len(number) :].strip() or "s", math.nan)
        try:
            seconds = number_of(number) * unit
        except (ValueError, ZeroDivisionError, OverflowError):
            seconds = math.nan
    else:
        seconds = float(value) if isinstance(value, Real) and not isinstance(value, bool) and not enormous(value) else math.nan
    if math.isnan(seconds):
        raise EscrimeError(f"{name} = {shown(value)} is no time; give seconds, or write '90s', '10min' or '2h'.")
    if not seconds > 0:
        raise EscrimeError(f"{name} = {shown(value)} leaves no time; give more, such as '10min'.")
    return seconds


def channel_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """One number, or one per channel, from text such as 0.5, 1/255 or 0.485,0.456,0.406; None stays.

    Raises:
        EscrimeError: For anything else; it names `option`.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    try:
        values = tuple(number_of(word) for word in words)
    except (ValueError, ZeroDivisionError, OverflowError):
        values = ()
    if len(values) not in (1, CHANNELS) or not all(map(math.isfinite, values)):
        raise EscrimeError(
            f"{option} {text!r} is neither a number nor three, one for red, green and blue; write 0.5 or 0.485,0.456,0.406."
        )
    return values


def check_both(mean: object, std: object) -> None:
    """Raise EscrimeError for a mean without a std, or the reverse."""
    if (mean is None) != (std is None):
        given, missing = ("--mean", "--std") if std is None else ("--std", "--mean")
        raise EscrimeError(f"{given} without {missing}: they describe one normalization, so give both or neither.")


def is_whole(value: object) -> TypeGuard[Integral]:
    """Whether it is a whole number of any library's, which True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def enormous(value: object) -> TypeGuard[int]:
    """Whether it is a whole number beyond BOUND."""
    return isinstance(value, int) and abs(value) >= BOUND


def number_of(text: str) -> float:
    """The number that `text` writes (0.03, 1e-3, 8/255, 0.5/255), the nearest there is to it; no power of ten is worked out,
    which 1e999999999 asks for.

    Raises:
        ValueError: For text that is no number.
        ZeroDivisionError: For a fraction of zero.
        OverflowError: For a number beyond all floats.
    """
    above, fraction, below = text.partition("/")
    parts = [_plain(above), _plain(below)] if fraction else [_plain(text)]
    number = parts[0] / parts[1] if fraction else parts[0]
    if any(map(math.isinf, [*parts, number])):
        raise OverflowError(text)
    return number


def _plain(text: str) -> float:
    """The number of a text without a fraction; infinity where it is beyond all floats."""
    if not re.fullmatch(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?", text, re.ASCII):
        raise ValueError(text)
    return float(text)


def shown(value: object) -> str:
    """A value for a message; an integer with too many digits to be read as what it is."""
    return f"an integer of {value.bit_length():,} bits" if enormous(value) and value.bit_length() > 200 else repr(value)
