"""Attacks: one file per algorithm, and the scheduler that drives the iterative ones."""

from .base import Attack, Outcome
from .dgsm import DGSM
from .fgsm import FGSM

__all__ = ["Attack", "DGSM", "FGSM", "Outcome"]
