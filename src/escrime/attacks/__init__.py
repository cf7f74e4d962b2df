"""Attacks: one file per algorithm, and the scheduler that drives the iterative ones."""

from .apgd import APGD
from .auto_attack import AutoAttack
from .base import Attack, Outcome
from .carlini_wagner import CarliniWagner
from .deepfool import DeepFool
from .dgsm import DGSM
from .fgsm import FGSM
from .fmn import FMN
from .pgd import PGD
from .random_points import RandomPoints
from .rays import RayS
from .square import Square
from .worst_case import WorstCase

__all__ = [
    "APGD",
    "Attack",
    "AutoAttack",
    "CarliniWagner",
    "DGSM",
    "DeepFool",
    "FGSM",
    "FMN",
    "Outcome",
    "PGD",
    "RandomPoints",
    "RayS",
    "Square",
    "WorstCase",
]
