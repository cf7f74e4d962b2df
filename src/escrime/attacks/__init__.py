"""Attacks: one file per algorithm, and the scheduler that drives the iterative ones.

ATTACKS holds every attack by its name, and each is a name of this package. They are found in this folder: a new one is one file
with a frozen dataclass that describes itself (see Attack).
"""

from typing import Any

from .core.base import Attack, Outcome
from .core.registry import ATTACKS, find_attacks

ATTACKS.update(find_attacks(__name__, __path__))
globals().update(ATTACKS)

__all__ = ["ATTACKS", "Attack", "Outcome", *ATTACKS]


def __getattr__(name: str) -> Any:  # so that a type checker takes the names of ATTACKS for names of this module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
