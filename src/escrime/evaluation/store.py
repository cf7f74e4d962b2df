"""Where an evaluation keeps what it has finished: in memory here, in a run folder in commands/shared/store.py."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd
from torch import Tensor

from ..results.findings import Finding
from ..results.keys import of_deployed
from .universal import Perturbations, Shelf


@dataclass(frozen=True)
class Examined:
    """What came of one examination. images, effort: what it stands on. attempts: the attacks that it called for, by name and
    settings. parts: keys of the records they made. cut: what the time did not suffice for."""

    images: int
    effort: dict[str, int]
    attempts: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    def rests_on(self, images: int, effort: dict[str, int]) -> bool:
        """Whether it was made on these images, in time, and looked at least as hard."""
        return self.images == images and not self.cut and all(self.effort.get(name, 0) >= n for name, n in effort.items())


class Store(Shelf, Protocol):
    """What a pipeline needs. A part is known by its key (see parts.Part), an examination by case and norm."""

    def finished(self, key: str) -> bool:
        """Whether the part is there, whole."""

    def done(self, prefix: str) -> Collection[str]:
        """The ids (as text) of the images in all parts whose keys begin so."""

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of the parts that are there, sorted."""

    def write(self, key: str, rows: pd.DataFrame) -> None:
        """Keep the records of a part."""

    def forget(self, key: str) -> None:
        """Lose a part."""

    def records(self) -> pd.DataFrame:
        """All that was written, but for what is about a deployed model."""

    def deployed(self) -> pd.DataFrame | None:
        """What was written about a deployed model, in the columns of records; None for nothing."""

    @property
    def failures(self) -> dict[str, str]:
        """Why attacks failed, by the names of their parts."""

    def note_failure(self, name: str, reason: str) -> None:
        """Keep why the attack of a part called `name` failed."""

    def examinations(self) -> dict[tuple[str, str], Examined]:
        """What came of each examination, by case and norm."""

    def note_examination(self, case: str, norm: str, found: Examined) -> None:
        """Keep what came of one."""

    def forget_examination(self, case: str, norm: str) -> None:
        """Lose it, where it is."""


class MemoryStore:
    """A store that lasts as long as the program."""

    def __init__(self) -> None:
        self.parts: dict[str, pd.DataFrame] = {}
        self.failures: dict[str, str] = {}
        self._examinations: dict[tuple[str, str], Examined] = {}
        self._perturbations: dict[str, Perturbations] = {}

    def finished(self, key: str) -> bool:
        return key in self.parts

    def done(self, prefix: str) -> Collection[str]:
        return frozenset(name for key in self.keys(prefix) for name in self.parts[key]["image"])

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.parts if key.startswith(prefix))

    def write(self, key: str, rows: pd.DataFrame) -> None:
        self.parts[key] = rows

    def forget(self, key: str) -> None:
        del self.parts[key]

    def records(self) -> pd.DataFrame:
        return pd.concat([rows for key, rows in self.parts.items() if not of_deployed(key)], ignore_index=True)

    def deployed(self) -> pd.DataFrame | None:
        own = [rows for key, rows in self.parts.items() if of_deployed(key)]
        return pd.concat(own, ignore_index=True) if own else None

    def note_failure(self, name: str, reason: str) -> None:
        self.failures.setdefault(name, reason)

    def examinations(self) -> dict[tuple[str, str], Examined]:
        return self._examinations

    def note_examination(self, case: str, norm: str, found: Examined) -> None:
        self._examinations[case, norm] = found

    def forget_examination(self, case: str, norm: str) -> None:
        self._examinations.pop((case, norm), None)

    def perturbations(self, name: str) -> Perturbations | None:
        return self._perturbations.get(name)

    def keep_perturbations(self, name: str, found: Perturbations, pictures: dict[tuple[int, float], Tensor]) -> None:
        self._perturbations[name] = found
