"""Which class of a model each class of a set of images is."""

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from ..errors import EscrimeError, shortened
from ..imagenet import titles, wordnet_ids
from .imageset import ImageSet

SHOWN = 5  # names of a list in a message


def labels_for(data: ImageSet, count: int, names: Sequence[str] | None, wnids: Sequence[str] | None, model: str) -> ImageSet:
    """A set of images with the labels and class names of a model.

    Args:
        data: The images.
        count: K, the number of the model's classes.
        names: What the model calls its classes, K of them, where that is known.
        wnids: Their WordNet ids, where those are known.
        model: What messages call the model.

    Returns:
        `data` with its labels as indices into the K classes (see `class_places`), and the model's class names.

    Raises:
        EscrimeError: As `class_places`.
    """
    index = class_places(data, count, names, wnids, model)
    wnids = wnids or wordnet_ids(names)
    shown = tuple(names) if names else tuple(data.classes) if count == len(data.classes) else None
    shown = titles(shown or tuple(wnids or map(str, range(count))))
    labels = np.array(index, dtype=np.int64)[data.labels]
    return replace(data, labels=labels, classes=shown, wnids=tuple(wnids) if wnids else None, fingerprint=data.fingerprint)


def class_places(
    data: ImageSet,
    count: int,
    names: Sequence[str] | None,
    wnids: Sequence[str] | None,
    model: str,
    needed: Collection[int] | None = None,
) -> list[int]:
    """Which of the `count` classes of a model each class of `data` is.

    Classes are matched by WordNet id where the folders are named so and the model's are known, else by name, as
    `places_of` does. A model that names no classes must have as many as the images, and is taken to count them in their
    order.

    Args:
        data: The images.
        count: K, the number of the model's classes.
        names: What the model calls its classes, K of them, where that is known.
        wnids: Their WordNet ids, where those are known.
        model: What messages call the model.
        needed: Indices of the classes of `data` that the model must have; None for all.

    Returns:
        The index among the K of each class of `data`, in the order of `data.classes`; -1 for one that is neither the model's
        nor needed.

    Raises:
        EscrimeError: Where a class of the images is not the model's, or could be two, with both lists; and for another number
            of names than of classes.
    """
    check_names(names, count, model)
    check_names(wnids, count, model)
    wnids, names = wnids or wordnet_ids(names), titles(names) if names else None
    if data.wnids and wnids:
        return _looked_up(data.wnids, places_of(wnids), data, names or wnids, model, needed)
    if names:
        return _looked_up(data.classes, places_of(names), data, names, model, needed)
    if count == len(data.classes):
        return list(range(count))
    raise EscrimeError(
        f"{model} has {count} classes without names, the images have {len(data.classes)} "
        f"({shortened(data.classes, SHOWN)}); give the model's class names, or images of exactly its classes."
    )


def class_metadata(data: ImageSet) -> dict:
    """JSON values for weights that were trained on `data`: what their outputs are called."""
    return {"classes": list(data.classes)} | ({"wnids": list(data.wnids)} if data.wnids else {})


def check_names(names: Sequence[str] | None, count: int, model: str) -> None:
    """Raise EscrimeError where a model of `count` classes names more of them, or fewer."""
    if names and len(names) != count:
        raise EscrimeError(
            f"{model} answers with {count} classes, but names {len(names)} ({shortened(names, SHOWN)}); give it one name "
            "for each class."
        )


def _looked_up(
    keys: Sequence[str],
    places_in: Callable[[str], list[int]],
    data: ImageSet,
    names: Sequence[str],
    model: str,
    needed: Collection[int] | None,
) -> list[int]:
    found = [places_in(key) for key in keys]
    for index, (name, places) in enumerate(zip(data.classes, found, strict=True)):
        if needed is not None and index not in needed:
            continue
        if not places:
            raise EscrimeError(
                f"the images have a class {name!r} that {model} does not know. The images' {len(data.classes)} classes: "
                f"{shortened(data.classes, SHOWN)}; the model's {len(names)}: {shortened(names, SHOWN)}. Rename the folders "
                "to the model's classes, or leave out the others."
            )
        if len(places) > 1:
            raise EscrimeError(
                f"the images' class {name!r} could be class {places[0]} or {places[1]} of {model}; name its folder by the "
                "WordNet id, or by the model's whole name."
            )
    return [places[0] if len(places) == 1 else -1 for places in found]


def places_of(names: Sequence[str]) -> Callable[[str], list[int]]:
    """A function: a name → the places in `names` that it may mean. That is those of this very name; else those of this name
    without case, spaces, hyphens and underscores; else those with this synonym ("tench, Tinca tinca" has two)."""
    exact: dict[str, list[int]] = {}
    whole: dict[str, list[int]] = {}
    part: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        exact.setdefault(_composed(name), []).append(place)
        whole.setdefault(_plain(name), []).append(place)
        for synonym in dict.fromkeys(map(_plain, name.split(","))):
            part.setdefault(synonym, []).append(place)
    return lambda name: exact.get(_composed(name)) or whole.get(_plain(name)) or part.get(_plain(name)) or []


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", _composed(name)).casefold()


def _composed(name: str) -> str:
    """The name with é as one character: macOS writes the names of files with two."""
    return unicodedata.normalize("NFC", name)
