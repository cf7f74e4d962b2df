"""Attacks: one file per algorithm, and the scheduler that drives the iterative ones."""

from .apgd import APGD
from .base import Attack, Outcome
from .dgsm import DGSM
from .fgsm import FGSM
from .pgd import PGD

__all__ = ["APGD", "Attack", "DGSM", "FGSM", "Outcome", "PGD"]
