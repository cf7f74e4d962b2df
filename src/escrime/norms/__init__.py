"""The norms that perturbations are measured in, one class each: all that is special about a norm is in its class.

Nobody compares names: an attack asks its `geometry`, everybody else `norm(name)`, which refuses a name that it does not know.
A new norm is one file here: a class with `@register` before it. Images are float32 in [0, 1], shape (N, C, H, W). Nothing here
waits for torch, since a report, which needs the words alone, does not.
"""

from ..discovery import modules_in
from .base import DEFAULT, NORMS, Norm, check_works_in, free_to_fall, meant, norm, per_image, refuse_mask, register
from .linf import Linf  # listed first: it is meant where none is named

from .l2 import L2  # isort: skip

modules_in(__name__, __path__)  # every other file of this folder

__all__ = [
    "DEFAULT",
    "L2",
    "NORMS",
    "Linf",
    "Norm",
    "check_works_in",
    "free_to_fall",
    "meant",
    "norm",
    "per_image",
    "refuse_mask",
    "register",
]
