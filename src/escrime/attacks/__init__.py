"""Attacks: one file per algorithm, and the scheduler that drives the iterative ones.

ATTACKS holds every attack by its name, and each is a name of this package. They are found in this folder: a new one is one file
with a frozen dataclass that describes itself (see Attack).
"""

from .core.base import Attack as Attack
from .core.base import Outcome as Outcome
from .core.found import *  # noqa: F403
from .core.registry import ATTACKS as ATTACKS
