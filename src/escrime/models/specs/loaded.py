"""What a specification of a model turns into."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import nn

IMAGENET = 1000


@dataclass(frozen=True)
class Loaded:
    """model: images float32 (N, 3, H, W) in [0, 1] → logits (N, K), a module, or for a black box any callable.

    origin: the specification. classes: K names, None where nothing says them. wnids: their WordNet ids, where the classes
    are ImageNet's. size: pixels of the square side it expects, None for any. answers: "gradients", or what a black box
    gives away: "scores" or "labels".
    """

    model: nn.Module | Callable
    origin: str
    classes: tuple[str, ...] | None = None
    wnids: tuple[str, ...] | None = None
    size: int | None = None
    answers: str = "gradients"


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """ImageNet-1k's WordNet ids in the order of its class indices."""
    return tuple((Path(__file__).parent / "imagenet_wnids.txt").read_text("utf-8").split())
