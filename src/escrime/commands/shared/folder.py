"""The run folder: what it holds, who it belongs to, and one run at a time."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from ... import __version__
from ...budgets import eps_text
from ...data import ImageSet
from ...data.listing import check_text
from ...errors import EscrimeError
from ...evaluation.progress import Meter
from ...files import LOCK, leftover, locked, sweep, write_whole
from ...results.layout import SUBFOLDERS, check_inside
from ...results.reading import read_json, read_text
from ...results.records import write_part
from ...results.schema import StoredManifest
from .display import Display

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "scipy", "safetensors")

LAP_SECONDS = 10


class AnotherRun(EscrimeError):
    """A folder holds something else than what is asked for. reason: the difference, in a few words."""

    def __init__(self, sentence: str, reason: str):
        super().__init__(f"{sentence}; give another folder with --out, or delete this one.")
        self.reason = reason


class RunFolder:
    """runs/NAME/ with manifest.json, records/, checkpoints/, examples/, perturbations/, analysis/, training/ and what the
    report draws.

    It may come from anyone: links inside are refused (results.layout) and what is read must fit (results.schema).
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        check_text(self.path)
        check_inside(self.path)
        self._stage: str | None = None
        self._noted = 0.0

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def manifest(self) -> dict:
        if not (self / "manifest.json").exists():
            raise EscrimeError(f"{self.path} is not a run folder (no manifest.json); `escrime run` makes one.")
        return {"models": {}, "stages": []} | read_json(self / "manifest.json", StoredManifest)

    @property
    def failures(self) -> dict[str, str]:
        """Why attacks failed, by MODEL--DEFENSE--THREAT--ATTACK."""
        return {path.stem: _reason(path) for path in sorted((self / "failures").glob("*.txt"))}

    def note_failure(self, name: str, reason: str) -> None:
        """Keep why an attack failed, which its rows do not tell."""
        (self / "failures").mkdir(exist_ok=True)
        write_whole(self / "failures" / f"{name}.txt", reason, follow=False)

    def write_json(self, name: str, content: object) -> None:
        write_whole(self / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n", follow=False)

    def prepare(
        self,
        name: str,
        settings: dict,
        dataset: dict,
        device: str,
        command: str,
        kind: str = "experiment",
        attacks: dict[str, str] | None = None,
    ) -> None:
        """Make the folder, or check that it belongs to the same experiment on the same data.

        settings: JSON values with `title` and `seed`. kind: "experiment", or "evaluation" of a model as it is. attacks: what
        each is (Attack.manner), by its label.
        """
        identity = {"experiment": settings, "dataset": dataset}
        if self.holds(identity):
            sweep(self.path)
            return
        for sub in SUBFOLDERS:
            (self / sub).mkdir(parents=True, exist_ok=True)
        sweep(self.path)
        self.write_json(
            "manifest.json",
            {
                "name": name,
                "kind": kind,
                "title": settings["title"],
                **provenance(device),
                "seed": settings["seed"],
                "command": command,
                **identity,
                "models": {},
                "attacks": attacks or {},
                "stages": [],
            },
        )

    def holds(self, identity: dict) -> bool:
        """Whether it is the run folder of this `identity`; False where nothing is there yet. Raises AnotherRun for anything
        else."""
        if (self / "manifest.json").exists():
            self.refuse_another(self.manifest, identity)
            return True
        if self.foreign(*(sub for sub in SUBFOLDERS if not any((self / sub).glob("*")))):
            raise AnotherRun(f"{self.path} exists and is not a run folder", "something that is no run")
        return False

    def foreign(self, *own: str) -> list[str]:
        """Names in the folder, sorted, that are not `own` and not what a killed command leaves before its first file."""
        if self.path.exists() and not self.path.is_dir():
            raise AnotherRun(f"{self.path} is a file", "a file")
        found = self.path.iterdir() if self.path.exists() else ()
        return sorted(path.name for path in found if path.name not in (LOCK, *own) and not leftover(path))

    def refuse_another(self, old: dict, identity: dict) -> None:
        """AnotherRun where what the folder holds differs from `identity` in one of its parts."""
        for part, new in identity.items():
            there, here = old.get(part), json.loads(json.dumps(new))
            if part == "dataset" and isinstance(there, dict):  # which runs of earlier versions lack
                there = {"train_fingerprint": here.get("train_fingerprint")} | there
            difference = first_difference(there, here, part)
            if difference:
                raise AnotherRun(f"{self.path} belongs to another experiment ({difference})", difference)

    def record_model(self, name: str, description: dict) -> None:
        manifest = self.manifest
        manifest["models"][name] = description
        self.write_json("manifest.json", manifest)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and note it in the manifest; resumed work adds to the seconds already noted, those of a killed run up
        to its last `lap` included."""
        self._stage, self._noted = name, time.monotonic()
        try:
            yield
            self.lap(0)
        except BaseException:
            with suppress(OSError, EscrimeError):  # a full disk: the first error is the one to report
                self.lap(0)
            raise
        finally:
            self._stage = None

    @contextmanager
    def metered(self, title: str, display: Display, noted: bool = True) -> Iterator[Meter]:
        """A stage with a bar that follows the Meter which is yielded; one that is not `noted` leaves its time to others."""
        with self.stage(title) if noted else nullcontext(), display.meter(title) as meter:
            yield meter

    def lap(self, least: float = LAP_SECONDS) -> None:
        """Note the seconds of the running stage so far, where the last note is more than `least` seconds ago."""
        now = time.monotonic()
        if self._stage is None or now - self._noted < least:
            return
        manifest = self.manifest
        entry = next((entry for entry in manifest["stages"] if entry["name"] == self._stage), None)
        if entry is None:
            manifest["stages"].append(entry := {"name": self._stage, "seconds": 0.0})
        entry["seconds"] = round(entry["seconds"] + now - self._noted, 2)
        self._noted = now
        self.write_json("manifest.json", manifest)

    def write_records(self, key: str, frame: pd.DataFrame, place: str = "records") -> None:
        """Write one finished part of the work: its records, then the time."""
        write_part(frame, self / place / f"{key}.parquet")
        self.lap()

    def lock(self) -> AbstractContextManager[None]:
        """Within the block, a second run in the same folder is refused."""
        check_inside(self.path)
        return locked(self.path, "give another folder with --out")


def _reason(path: Path) -> str:
    """Why an attack failed. Raises EscrimeError for what is no text file, or under a name that no record could hold."""
    check_text(path)
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise (
            error if isinstance(error, EscrimeError) else EscrimeError(f"{path} cannot be read ({error}); delete it.")
        ) from None


def about_images(test: ImageSet, train: ImageSet | None = None) -> dict:
    """What a manifest notes of the images: those tested on, how many a model was trained on, what was left out and why."""
    left_out = test.left_out | (train.left_out if train is not None else {})
    return {
        "name": test.name,
        "classes": list(test.classes),
        "train": 0 if train is None else len(train),
        "test": len(test),
        "subsets": {name: int(mask.sum()) for name, mask in test.subsets.items()},
        "size": int(test.images.shape[-1]),
        "fingerprint": test.fingerprint,
        **({} if train is None else {"train_fingerprint": train.fingerprint}),
    } | ({"left_out": left_out} if left_out else {})


def first_difference(old: Any, new: Any, where: str) -> str | None:
    """A short description of the first place where two JSON values differ, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(k for k in old if k not in new)]:
            difference = first_difference(old.get(key), new.get(key), f"{where}.{key}")
            if difference:
                return difference
        return None
    if old == new:
        return None
    texts = [", ".join(map(eps_text, value)) if _is_grid(where, value) else str(value) for value in (old, new)]
    was, now = (text if len(text) < 60 else text[:57] + "..." for text in texts)
    return f"{where} was {was}, now {now}"


def _is_grid(where: str, value: Any) -> bool:
    """Whether it is a list of ε, to be written as they were typed."""
    return where.endswith("epsilons") and isinstance(value, list) and all(isinstance(eps, (int, float)) for eps in value)


def provenance(device: str) -> dict:
    """When, with which software and on what machine a result is made."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "escrime": __version__,
        "versions": {package: _version(package) for package in PACKAGES},
        "commit": commit(),
        "python": platform.python_version(),
        "hardware": hardware(device),
    }


def hardware(device: str) -> dict:
    """Processor, cores, memory and accelerator of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"cpu": _processor(), "cores": cores, "memory_gib": round(memory, 1), "device": device}
    if device.startswith("cuda"):
        import torch

        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the checkout escrime runs from; None when it was installed from a package."""
    here = Path(str(files("escrime"))).resolve().parents[1]  # of src/escrime
    if not (here / ".git").exists():
        return None
    try:
        ask = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(ask, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
