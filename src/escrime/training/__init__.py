"""Training: turns a model and an ImageSet into a clean or robust model.

>>> from escrime.training import TrainSettings, fit, objective
>>> result = fit(model, train, objective("fgsm-mixed", eps="8/255"), settings=TrainSettings(epochs=10))
>>> result.history[["epoch", "loss", "accuracy"]]
"""

from ..discovery import modules_in
from .context import Context
from .loop import FitResult, fit
from .mixing import CutMix, MixUp
from .objectives import EPS_DISTRIBUTIONS, OBJECTIVES, Objective, objective
from .settings import KEEP, ON_OVERFITTING, OPTIMIZERS, PRECISIONS, SCHEDULES, TrainSettings

modules_in(__name__, __path__)  # each objective registers itself: one more is one more file

__all__ = [
    "Context",
    "CutMix",
    "EPS_DISTRIBUTIONS",
    "FitResult",
    "KEEP",
    "MixUp",
    "OBJECTIVES",
    "ON_OVERFITTING",
    "OPTIMIZERS",
    "Objective",
    "PRECISIONS",
    "SCHEDULES",
    "TrainSettings",
    "fit",
    "objective",
]
