"""Classifiers: build by name, load and save weights, make the fast frozen copies that attacks run."""

from .architectures import ARCHITECTURES, Architecture, architecture
from .fast.prepare import numerical_difference, prepare
from .loading import SPECS, Loaded, load_model
from .loading.weights import load_weights, read_metadata, save_weights
from .normalized import Normalized, logits_and_auxiliary
from .registry import build
from .running import Classifier
from .small import LeNet, WideResNetSmall

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Classifier",
    "LeNet",
    "Loaded",
    "Normalized",
    "SPECS",
    "WideResNetSmall",
    "architecture",
    "build",
    "load_model",
    "load_weights",
    "logits_and_auxiliary",
    "numerical_difference",
    "prepare",
    "read_metadata",
    "save_weights",
]
