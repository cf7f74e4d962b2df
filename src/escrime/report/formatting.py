"""How numbers and names are written, everywhere the same."""

import math
import re
from collections.abc import Iterable
from hashlib import sha256

from .. import norms
from ..budgets import eps_text
from ..results.statistics import share_text
from ..results.threats import ADAPTIVE, BLACK_BOX, TRANSFER, UNDEFENDED, WHITE_BOX

NETWORKS = {"wide_resnet50_2": "Wide ResNet-50-2", "googlenet": "GoogLeNet"}
THREAT_MEANINGS = {
    WHITE_BOX: "the attacker differentiates the network itself",
    BLACK_BOX: "the attacker can only ask the network for answers",
    TRANSFER: "the attacker has other networks: examples made without the defense, or on surrogates, are shown to this one",
    ADAPTIVE: "the attacker knows the defense and differentiates through it",
}


def level_text(threat: str, norm: str) -> str:
    """What an attacker knows, as a column says it; where there is none, that."""
    return threat if norms.norm(norm).attacker or threat not in UNDEFENDED else "no attacker"


def percent(value: float) -> str:
    """0.9777 → "97.8%", 0.9998 → "> 99.9%"; "–" where nothing was measured."""
    return share_text(value) if math.isfinite(value) else "–"


def points_text(value: float) -> str:
    """0.12 → "+12.0 points"."""
    return f"{100 * value:+.1f} points".replace("-", "−")


def eps_axis(norm: str) -> str:
    """What an axis of ε counts."""
    return f"ε ({norms.norm(norm).unit})"


def fraction_text(eps: float, norm: str = norms.DEFAULT) -> str:
    """ε as `eps_text` writes it; norms without gray levels have decimal numbers."""
    return eps_text(eps, norms.norm(norm).per_value)


def in_levels(epsilons: Iterable[float], norm: str = norms.DEFAULT) -> bool:
    """Whether every ε above 0 is written as a part of 255, so that an axis of them is too."""
    positive = [eps for eps in epsilons if eps > 0]
    return bool(positive) and all("/" in fraction_text(eps, norm) for eps in positive)


def slug(name: str) -> str:
    """A model's name as part of a file name and of an HTML id: another for every name."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60].strip("-") or "model"
    if plain == name:
        return name
    digest = sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]  # "a b" and "a/b" would both be "a-b"
    return f"{plain}-{digest}"
