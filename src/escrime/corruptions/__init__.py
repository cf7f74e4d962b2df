"""Common corruptions: what happens to images without an attacker. Hendrycks & Dietterich (2019).

One file per family; a corruption is a function there with `@corruption` before it, which holds its parameters. Here are their
names, in the order of the paper's tables: COMMON, the fifteen that a model is judged by, EXTRA, four for choosing settings, and
CORRUPTIONS, all of them: what is recorded of an image is a place in that list, so one more goes to its end.
"""

from ..discovery import modules_in
from .rendering import corrupt, keys_of, render
from .table import FAMILIES, SEVERITIES, SMALL, TABLE

modules_in(__name__, __path__)  # every file of this folder, which fills TABLE

_ORDERED = sorted(TABLE.values(), key=lambda entry: FAMILIES.index(entry.family))
COMMON = tuple(entry.name for entry in _ORDERED if not entry.extra)
EXTRA = tuple(entry.name for entry in _ORDERED if entry.extra)
CORRUPTIONS = (*COMMON, *EXTRA)

__all__ = ["COMMON", "CORRUPTIONS", "EXTRA", "FAMILIES", "SEVERITIES", "SMALL", "TABLE", "corrupt", "keys_of", "render"]
