"""escrime: how easily an image classifier can be fooled, what hardening it buys, and whether that can be believed."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are imported on first use, so that `escrime --help` does not wait for torch.
_HOMES = {
    "APGD": "attacks",
    "Attack": "attacks",
    "AutoAttack": "attacks",
    "CarliniWagner": "attacks",
    "DGSM": "attacks",
    "DeepFool": "attacks",
    "FGSM": "attacks",
    "FMN": "attacks",
    "PGD": "attacks",
    "RayS": "attacks",
    "Square": "attacks",
    "WorstCase": "attacks",
    "MajorityVote": "defenses",
    "PredictionAveraging": "defenses",
    "Certificate": "evaluation.certificate",
    "certify": "evaluation.certificate",
    "Effort": "evaluation",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "Tuning": "evaluation.tuning",
    "tune": "evaluation.tuning",
    "EscrimeError": "errors",
    "Normalized": "models",
    "build": "models",
    "load_model": "models",
    "fit": "training",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'escrime' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
