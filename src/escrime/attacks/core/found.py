"""Every attack of the folder above, each a name of this module.

found.pyi says to type checkers which they are: `python docs/tables.py` writes it, and a test holds it current.
"""

from pathlib import Path

from .registry import ATTACKS, find_attacks

ATTACKS.update(find_attacks(__name__.rpartition(".core.")[0], [str(Path(__file__).parents[1])]))
globals().update(ATTACKS)

__all__ = list(ATTACKS)
