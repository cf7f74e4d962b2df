"""Names of a model's classes: what --classes reads, and what a model of the user's calls so."""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import numpy as np

from ...access import LABELS
from ...errors import EscrimeError
from ...imagenet import imagenet_names, imagenet_wnids, titles, wordnet_ids
from ...regular_files import expanded
from ...specifications import FORMS, text_of_classes
from .black_box import count_labels
from .loaded import Loaded


def with_classes(loaded: Loaded, classes: Path | str | Sequence[str] | None) -> Loaded:
    """The model, its classes named by `classes`, a file or the names in order; None: as it names them, but by ImageNet's names
    where those are WordNet ids.

    Raises:
        EscrimeError: For a file that cannot be read or holds no names.
    """
    names, wnids = loaded.classes, loaded.wnids
    if isinstance(classes, (str, Path)):
        names, wnids = read_classes(classes)
    elif classes is not None:
        names, wnids = tuple(map(str, classes)), None
    if names is None:
        return loaded
    if classes is not None and names == imagenet_names():
        wnids = imagenet_wnids()
    if loaded.answers == LABELS:
        count_labels(loaded.model, len(names))
    return replace(loaded, classes=titles(names), wnids=wnids or wordnet_ids(names))


def read_classes(path: Path | str) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """(names, WordNet ids or None) of a file: a line for each class, in order, that may begin with its number or WordNet id; or
    JSON (or Python's own writing of it), a list, or an object of number → name or of name → number, where a name may be a pair
    [WordNet id, name].

    Raises:
        EscrimeError: For a file that cannot be read, or is none of these.
    """
    path, text = expanded(path), text_of_classes(path)
    found = _structured(text) if text.lstrip()[:1] in ("[", "{") else _lines(text)
    if not found:
        raise EscrimeError(f"the file of class names {path} holds no names in order; {FORMS}.")
    pairs = [entry if isinstance(entry, tuple) else ("", entry) for entry in found]
    names = tuple(name for _, name in pairs)
    if odd := [name for name in names if not name.strip() or not name.isprintable()]:
        raise EscrimeError(f"the file of class names {path} calls a class {odd[0]!r}, which cannot be shown; {FORMS}.")
    return names, wordnet_ids([wnid for wnid, _ in pairs])


def _lines(text: str) -> list:
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if all(numbered := [re.fullmatch(r"(\d+)[\s:,]+(.*\S)", line) for line in lines]):
        if [int(match[1]) for match in numbered if match] == list(range(len(lines))):
            lines = [match[2] for match in numbered if match]
    if all(known := [re.fullmatch(r"(n\d{8})[\s:,]+(.*\S)", line) for line in lines]):
        return [(match[1], match[2]) for match in known if match]
    return lines


def _structured(text: str) -> list | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        try:
            content = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    entries = ordered(content)
    entries = [_entry(entry) for entry in entries] if entries else None
    return entries if entries and all(entry is not None for entry in entries) else None


def _entry(entry: object) -> str | tuple[str, str] | None:
    """A name, or a pair (WordNet id, name); None for anything else."""
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and all(isinstance(word, str) for word in entry):
        return entry[0], entry[1]
    return entry if isinstance(entry, str) else None


def ordered(classes: object) -> list | None:
    """What stands for each class, in order: of a list, an array, a dict of index → name, or one of name → index as ImageFolder
    has; None for anything else."""
    if isinstance(classes, dict) and classes:
        keys, values = list(classes), list(classes.values())
        wanted = sorted(map(str, range(len(classes))))
        whole = [all(isinstance(entry, Integral) for entry in entries) for entries in (keys, values)]
        by_index = whole[0] or not whole[1]  # digits are names of folders too: {"0": 0, "1": 1}
        indices, entries = (keys, values) if by_index else (values, keys)
        if sorted(map(str, indices)) != wanted:
            return None
        return [entry for _, entry in sorted(zip(map(int, indices), entries, strict=True), key=lambda pair: pair[0])]
    classes = classes.tolist() if isinstance(classes, np.ndarray) else classes
    return list(classes) if isinstance(classes, (list, tuple)) else None


def own_names(classes: object) -> tuple[str, ...] | None:
    """What a model's attribute `classes` names, as `ordered` reads it; None for what only happens to be called so."""
    found = ordered(classes)
    return None if found is None else tuple(map(str, found))
