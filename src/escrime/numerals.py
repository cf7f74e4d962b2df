"""Numbers from outside: read in a time that does not grow with their value, and shown however many digits they have."""

import math
import re
from fractions import Fraction
from typing import TypeGuard

BOUND = 2**63  # of a whole number in a setting: what records, files of a run, and sums of floats hold


def number_of(text: str) -> float:
    """The number that `text` writes (0.03, 1e-3, 8/255), the nearest there is to it; no power of ten is worked out, which
    1e999999999 asks for. Errors: ValueError, ZeroDivisionError, OverflowError."""
    if "/" in text:
        return float(Fraction(text))
    if not re.fullmatch(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?", text, re.ASCII):
        raise ValueError(text)
    if math.isinf(number := float(text)):
        raise OverflowError(text)
    return number


def shown(value: object) -> str:
    """A value for a message; an integer with too many digits to be read as what it is."""
    return f"an integer of {value.bit_length():,} bits" if enormous(value) and value.bit_length() > 200 else repr(value)


def enormous(value: object) -> TypeGuard[int]:
    """Whether it is a whole number beyond BOUND."""
    return isinstance(value, int) and abs(value) >= BOUND
