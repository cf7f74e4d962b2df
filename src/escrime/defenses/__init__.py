"""Defenses: modules that wrap a classifier and are classifiers themselves."""

from .prediction_averaging import PredictionAveraging

__all__ = ["PredictionAveraging"]
