"""A run folder as the store of an evaluation: records/ holds its parts, deployed/ those about a deployed model, checks/ what
came of each examination."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
from torch import Tensor

from ...evaluation.store import Examined
from ...evaluation.universal import Perturbations
from ...results.findings import from_rows
from ...results.keys import joined, last_of, of_deployed
from ...results.layout import DEPLOYED
from ...results.reading import fitting, read_json
from ...results.records import read_deployed, read_records
from ...results.rows import TUNED, read_all, read_rows
from ...results.schema import StoredExamination
from . import perturbations
from .folder import RunFolder


class FolderStore:
    """See evaluation.store.Store. Files of others are read through the schema; what is written appears whole or not at all.
    place: the subfolder of its parts."""

    place = "records"

    def __init__(self, folder: RunFolder):
        self.folder = folder

    def _place(self, key: str) -> str:
        return DEPLOYED if of_deployed(key) else self.place

    def _part(self, key: str) -> Path:
        return self.folder / self._place(key) / f"{key}.parquet"

    def _paths(self, prefix: str) -> list[Path]:
        places = (self.place, DEPLOYED)
        found = [path for place in places for path in (self.folder / place).glob("*.parquet") if path.name.startswith(prefix)]
        return sorted(found)

    def finished(self, key: str) -> bool:
        return self._part(key).exists()

    def done(self, prefix: str) -> frozenset[str]:
        return frozenset(name for path in self._paths(prefix) for name in read_rows(path, ["image"])["image"].to_pylist())

    def keys(self, prefix: str = "") -> list[str]:
        return [path.stem for path in self._paths(prefix)]

    def write(self, key: str, rows: pd.DataFrame) -> None:
        self.folder.write_records(key, rows, self._place(key))

    def forget(self, key: str) -> None:
        self._part(key).unlink()

    def records(self) -> pd.DataFrame:
        return read_records(self.folder.path)

    def deployed(self) -> pd.DataFrame | None:
        return read_deployed(self.folder.path)

    @property
    def failures(self) -> dict[str, str]:
        return self.folder.failures

    def note_failure(self, name: str, reason: str) -> None:
        self.folder.note_failure(name, reason)

    def examinations(self) -> dict[tuple[str, str], Examined]:
        """Raise EscrimeError, which names the file and the field where one holds something else."""
        found = {}
        for path in sorted((self.folder / "checks").glob("*.json")):
            case, norm = last_of(path.stem)
            old = fitting(read_json(path), StoredExamination, path)
            old["attempts"] = old.pop("stages")  # as the file has always called them
            found[case, norm] = Examined(**{**old, "findings": from_rows(old["findings"], norm)})
        return found

    def note_examination(self, case: str, norm: str, found: Examined) -> None:
        (self.folder / "checks").mkdir(exist_ok=True)
        content = asdict(found) | {"findings": [finding.as_dict() for finding in found.findings]}
        content["stages"] = content.pop("attempts")
        if not found.cut:
            del content["cut"]
        self.folder.write_json(f"checks/{joined((case, norm))}.json", content)

    def forget_examination(self, case: str, norm: str) -> None:
        (self.folder / "checks" / f"{joined((case, norm))}.json").unlink(missing_ok=True)

    def perturbations(self, name: str) -> Perturbations | None:
        """Raise EscrimeError, which names the file where it holds something else."""
        return perturbations.read(self.folder.path, name)

    def keep_perturbations(self, name: str, found: Perturbations, pictures: dict[tuple[int, float], Tensor]) -> None:
        perturbations.write(self.folder.path, name, found, pictures)


class TuningStore(FolderStore):
    """The same for `escrime tune`, whose rows are no records of an evaluation: parts/ holds its parts."""

    place = "parts"

    def records(self) -> pd.DataFrame:
        return read_all(self._paths(""), TUNED)
