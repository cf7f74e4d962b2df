"""Which class of a model each class of a set of images is."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import EscrimeError
from .imageset import ImageSet

SHOWN = 5  # names of a list in a message


def labels_for(data: ImageSet, count: int, names: Sequence[str] | None, wnids: Sequence[str] | None, model: str) -> ImageSet:
    """`data` with its labels as indices into the `count` classes of a model, and the model's class names.

    Classes are matched by WordNet id where the folders are named so and the model's are known, else by name: case, spaces,
    hyphens and underscores do not count, and one of several synonyms ("tench, Tinca tinca") is enough. A model that names
    no classes must have as many as the images, and is taken to count them in their order.
    Errors: EscrimeError that shows both lists where a class of the images is not the model's, or could be two.
    """
    if data.wnids and wnids:
        index = _looked_up(data.wnids, {wnid: [place] for place, wnid in enumerate(wnids)}, data, wnids, model)
    elif names:
        index = _looked_up([plain(name) for name in data.classes], places_of(names), data, names, model)
    elif count == len(data.classes):
        index = list(range(count))
    else:
        raise EscrimeError(
            f"{model} has {count} classes without names, the images have {len(data.classes)} ({_list(data.classes)}); "
            "give the model's class names, or images of exactly its classes."
        )
    titles = tuple(names) if names else tuple(data.classes) if count == len(data.classes) else None
    titles = titles or tuple(wnids or map(str, range(count)))
    labels = np.array(index, dtype=np.int64)[data.labels]
    return replace(data, labels=labels, classes=titles, wnids=tuple(wnids) if wnids else None, fingerprint=data.fingerprint)


def _looked_up(keys: Sequence[str], known: dict[str, list[int]], data: ImageSet, names, model: str) -> list[int]:
    found = [known.get(key, []) for key in keys]
    for name, places in zip(data.classes, found, strict=True):
        if not places:
            raise EscrimeError(
                f"the images have a class {name!r} that {model} does not know. The images' {len(data.classes)} classes: "
                f"{_list(data.classes)}; the model's {len(names)}: {_list(names)}. Rename the folders to the model's classes, "
                "or leave out the others."
            )
        if len(places) > 1:
            raise EscrimeError(
                f"the images' class {name!r} could be class {places[0]} or {places[1]} of {model}; name its folder by the "
                "WordNet id, or by the model's whole name."
            )
    return [places[0] for places in found]


def places_of(names: Sequence[str]) -> dict[str, list[int]]:
    """Plain name → the places in `names` that it may mean: each is known by its whole name and by each of its synonyms."""
    known: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        for synonym in dict.fromkeys((plain(name), *map(plain, name.split(",")))):
            known.setdefault(synonym, []).append(place)
    return known


def plain(name: str) -> str:
    """A class name as it is compared: without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_\-]+", "", name).casefold()


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (f", … ({len(names) - SHOWN} more)" if len(names) > SHOWN else "")
