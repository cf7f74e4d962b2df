"""ImageNet-1k's thousand classes: their WordNet ids, as its folders are called, and their names, as people call them."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

CLASSES = 1000


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The WordNet ids in the order of the class indices."""
    return tuple((Path(__file__).parent / "imagenet_wnids.txt").read_text("utf-8").split())


@cache
def imagenet_names() -> tuple[str, ...]:
    """The names, as torchvision has them, in the order of the class indices."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"])


def wordnet_ids(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names themselves where all are WordNet ids such as n01440764, as ImageNet's folders are called; else None."""
    return tuple(names) if names and all(re.fullmatch(r"n\d{8}", name) for name in names) else None


def titles(names: Sequence[str]) -> tuple[str, ...]:
    """What people call the classes `names`: ImageNet's own names where all are WordNet ids of its classes; else as they are."""
    places = {wnid: place for place, wnid in enumerate(imagenet_wnids())} if wordnet_ids(names) else {}
    if not all(name in places for name in names):
        return tuple(names)
    return tuple(imagenet_names()[places[name]] for name in names)
