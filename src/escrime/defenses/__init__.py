"""Defenses: modules that wrap a classifier and are classifiers themselves."""

from .prediction_averaging import PredictionAveraging
from .vote import MajorityVote

__all__ = ["MajorityVote", "PredictionAveraging"]
