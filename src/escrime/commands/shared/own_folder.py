"""Which folder of runs/ belongs to a question: its own, found again when it is asked again, and a free one where it is new."""

import re
from collections.abc import Callable
from glob import escape
from itertools import count
from pathlib import Path

from .folder import AnotherRun, RunFolder


def own_folder(base: Path, holds: Callable[[RunFolder], bool], say: Callable[[str], None]) -> RunFolder:
    """Of `base`, base-2, base-3, … the first that holds this question, else the first that is free.

    holds: whether a folder that exists holds it, False for nothing yet; it raises AnotherRun for anything else. say: told of
    another question in the way.
    """
    taken: dict[Path, str] = {}  # why
    for path in _existing(base):
        try:
            if holds(folder := RunFolder(path)):
                return folder
        except AnotherRun as other:
            taken[path] = other.reason
    free = next(path for number in count(1) if (path := _numbered(base, number)) not in taken)
    if taken:
        path, reason = next(iter(taken.items()))
        say(f"note: {path} holds another question ({reason}); this one's folder is {free}.")
    return RunFolder(free)


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _existing(base: Path) -> list[Path]:
    """Those that are there, in the order of their numbers."""
    found = {}
    for path in base.parent.glob(f"{escape(base.name)}*"):
        if match := re.fullmatch(r"(?:-([2-9]|[1-9]\d+))?", path.name.removeprefix(base.name)):
            found[int(match[1] or 1)] = path
    return [found[number] for number in sorted(found)]
