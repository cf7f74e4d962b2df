"""escrime: how easily an image classifier can be fooled, what hardening it buys, and whether that can be believed."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are imported on first use, so that `escrime --help` does not wait for torch.
_HOMES = {
    "Attack": "attacks",
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


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name == "__all__":
        return [*_HOMES, *_attacks(), "__version__"]
    if name[:1].isupper() and name in (attacks := _attacks()):  # no module's name, and so nothing that torch must wait for
        return attacks[name]
    raise AttributeError(f"module 'escrime' has no attribute {name!r}")


def _attacks() -> dict[str, type]:
    """Every attack by its name: one that is added is public at once."""
    return import_module(".attacks", __name__).ATTACKS


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_attacks()})
