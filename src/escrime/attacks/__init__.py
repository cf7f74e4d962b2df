"""Attacks: one file per algorithm, and the scheduler that drives the iterative ones."""

from .apgd import APGD
from .base import Attack, Outcome
from .dgsm import DGSM
from .fgsm import FGSM
from .pgd import PGD
from .square import Square
from .worst_case import WorstCase

__all__ = ["APGD", "Attack", "DGSM", "FGSM", "Outcome", "PGD", "Square", "WorstCase"]
