"""`escrime train`: an architecture and a dataset become a checkpoint, clean or robust, in a folder that can be continued."""

import csv
import io
import math
import time
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ... import __version__, data
from ...data import ImageSet
from ...data.classes import class_metadata
from ...distributed import Processes
from ...errors import EscrimeError
from ...files import sweep, write_whole
from ...models import build, save_weights
from ...results.reading import read_json, read_text
from ...terminal import duration
from ...training import FitResult, TrainSettings, fit, objective
from ..shared.display import Display
from ..shared.folder import RunFolder, hardware
from .teacher import load_teacher

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

WEIGHTS, METRICS, DESCRIPTION = "weights.safetensors", "metrics.csv", "training.json"
COLUMNS = {  # heading → column of the history, how it is written
    "epoch": ("epoch", "{:.0f}"),
    "loss": ("loss", "{:.4f}"),
    "train": ("accuracy", "{:.1%}"),
    "train adv.": ("adversarial_accuracy", "{:.1%}"),
    "test": ("test_accuracy", "{:.1%}"),
    "test FGSM": ("test_fgsm_accuracy", "{:.1%}"),
    "rate": ("learning_rate", "{:.2g}"),
    "images/s": ("images_per_second", "{:.0f}"),
}
PROBES = {"held FGSM": ("probe_fgsm", "{:.1%}"), "held PGD": ("probe_pgd", "{:.1%}")}  # with --set probe_images=256
WIDTH = 11


@dataclass(frozen=True)
class TrainingJob:
    """What to train: the architecture, the images, the objective with its settings, and how."""

    arch: str
    data: str
    objective: dict[str, Any]
    settings: TrainSettings
    folder: Path | None = None
    size: int | None = None
    train_size: int | None = None
    weights: str | None = None
    head: str = "new"
    mean: float | None = None
    std: float | None = None
    seed: int = 0
    teacher: str | None = None
    trust: bool = False  # the teacher may be a file that runs code

    def side_seen(self, dataset: ImageSet) -> int:
        """Side in pixels of the images the network learns from."""
        return self.settings.crop_size or int(dataset.images.shape[-1])

    def description(self, dataset: ImageSet, result: FitResult, device: torch.device, command: str) -> dict:
        """How the weights of the folder came to be: what training.json holds."""
        return {
            "arch": self.arch,
            "data": {
                "name": self.data,
                "size": self.side_seen(dataset),
                "train_size": int(dataset.images.shape[-1]),
                "fingerprint": dataset.fingerprint,
                **({"left_out": dataset.left_out} if dataset.left_out else {}),
            },
            "classes": list(dataset.classes),
            "objective": objective(**self.objective).as_dict(),
            "settings": self.settings.as_dict(taught=self.teacher is not None),
            "epochs": len(result.history),
            "weights_of_epoch": result.epoch,
            "warnings": result.warnings,
            "weights": self.weights,
            **({"teacher": self.teacher} if self.teacher else {}),
            "seed": self.seed,
            "escrime": __version__,
            "torch": torch.__version__,
            "hardware": hardware(str(device)),
            "command": command,
        }


def run_training(
    job: TrainingJob,
    out: Path | str,
    *,
    device: torch.device,
    command: str = "",
    quiet: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Train `job` in the folder `out` and return it: weights.safetensors, metrics.csv (one row per epoch), training.json
    and the checkpoint to continue from. The same command continues what was interrupted, bit for bit on a CPU.

    Where several processes share the work (see escrime.distributed), only the first writes and prints. tensorboard: also
    write the numbers of metrics.csv to tensorboard/.

    Raises:
        EscrimeError: For unknown names and settings, unusable data, a folder that holds another training.
    """
    goal, team, folder = objective(**job.objective), Processes(device), RunFolder(out)
    if tensorboard:
        _summary_writer()
    display = Display(quiet=quiet or not team.first)
    if team.first:
        splits = _read(job, display)  # alone, so that images are decoded once per machine that shares the cache
    team.wait()
    if not team.first:
        splits = _read(job, display)
    indices = data.DATASETS[job.data].imagenet_indices if job.head == "slice" else None
    model = build(
        job.arch,
        len(splits.train.classes),
        weights=job.weights,
        head=job.head,
        class_indices=indices,
        seed=job.seed,
        mean=job.mean,
        std=job.std,
    ).to(device)
    teacher = None
    if job.teacher is not None:
        teacher, right = load_teacher(job.teacher, splits.train, job.side_seen(splits.train), job.trust)
        display.say(f"Teacher: {right}.")
    if team.count > 1:
        display.say(f"{team.count} processes share every batch of {job.settings.batch_size} images.")
    with folder.lock() if team.first else nullcontext():
        if team.first:
            if foreign := folder.foreign(WEIGHTS, METRICS, DESCRIPTION, "checkpoint", "tensorboard"):
                raise EscrimeError(
                    f"{folder.path} holds something else than a training ({foreign[0]}); give another folder with --out."
                )
            sweep(folder.path)
        with Log(display, folder, job.settings.epochs, tensorboard) as log, display.bar(f"Train {job.arch}", None) as advance:
            result = fit(
                model,
                splits.train,
                goal,
                settings=job.settings,
                checkpoint=folder / "checkpoint",
                seed=job.seed,
                device=device,
                on_batch=lambda done, total: advance(done=done, total=total),
                on_epoch=log.add if team.first else None,
                evaluate_on=splits.test if len(splits.test) else None,
                same_start=True,
                teacher=teacher,
            )
        if not team.first:
            return folder.path
        description = job.description(splits.train, result, device, command)
        chosen = {name: description[name] for name in ("settings", "weights_of_epoch")}
        # A finished training may be asked for its best weights in place of its last.
        if (
            result.resumed < len(result.history)
            or not (folder / WEIGHTS).exists()
            or _noted(folder / DESCRIPTION, chosen) != chosen
        ):
            log.write(result.history.to_dict("records"))
            folder.write_json(DESCRIPTION, description)
            # The last file: the training is complete when it exists.
            about = {"arch": job.arch, "size": job.side_seen(splits.train), "epoch": result.epoch}
            save_weights(model, folder / WEIGHTS, class_metadata(splits.train) | about)
    if result.resumed:
        display.say(f"{result.resumed} of {job.settings.epochs} epochs were found done.")
    for warning in result.warnings:
        display.say(f"warning: {warning}")
    display.say(f"Weights: {folder / WEIGHTS}")
    return folder.path


def _noted(path: Path, names: Iterable[str]) -> dict:
    """What training.json holds under `names`; {} where there is none that can be read."""
    try:
        description = read_json(path)
        return {name: description.get(name) for name in names}
    except (EscrimeError, AttributeError):
        return {}


def _read(job: TrainingJob, display: Display) -> data.Splits:
    with display.reading() as progress:
        return data.load(
            job.data,
            size=job.size,
            train_size=job.train_size,
            folder=job.folder,
            download=job.folder is None,
            progress=progress,
        )


def _summary_writer() -> "type[SummaryWriter]":
    """TensorBoard's class."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise EscrimeError("--tensorboard needs TensorBoard; install it with: pip install tensorboard.") from None
    return SummaryWriter


class Log(ExitStack):
    """The table on the screen, a line per epoch, and the same rows in metrics.csv, written whole after each; on request
    also for TensorBoard."""

    def __init__(self, display: Display, folder: RunFolder, epochs: int, tensorboard: bool = False):
        super().__init__()
        self.display, self.folder, self.epochs, self.tensorboard = display, folder, epochs, tensorboard
        self.path, self.board = folder / METRICS, None
        self.rows: list[dict] = []
        self.started = time.monotonic()

    def add(self, row: dict) -> None:
        if not self.rows:
            self.first = int(row["epoch"])
            if self.first == 1:
                # Of a training whose checkpoint is gone: this one has begun, and is complete when they are there again.
                for old in (WEIGHTS, DESCRIPTION):
                    (self.folder / old).unlink(missing_ok=True)
            if self.tensorboard:  # not before: until the first epoch the folder may turn out to be another's
                self.board = self.enter_context(_summary_writer()(self.folder / "tensorboard"))
            self.rows = [old for old in self._written() if int(float(old["epoch"])) < self.first]
            probed = row.get("probe_pgd") == row.get("probe_pgd") and "probe_pgd" in row
            self.columns = COLUMNS | PROBES if probed else COLUMNS
            self.display.say("".join(f"{heading:>{WIDTH}}" for heading in [*self.columns, "left"]), whole=True)
        self.write([*self.rows, row])
        if self.board is not None:
            for name, value in row.items():
                if name != "epoch" and value == value:
                    self.board.add_scalar(name, value, int(row["epoch"]))
        done = int(row["epoch"]) - self.first + 1
        left = (self.epochs - int(row["epoch"])) * (time.monotonic() - self.started) / done
        cells = [_cell(row.get(column), form) for column, form in self.columns.values()]
        self.display.say(
            "".join(f"{cell:>{WIDTH}}" for cell in [*cells, duration(left, about=True) if left else ""]), whole=True
        )

    def write(self, rows: list[dict]) -> None:
        self.rows, text = rows, io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, text.getvalue(), follow=False)

    def _written(self) -> list[dict]:
        if not self.path.exists():
            return []
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(self.path), newline="")))
            return [row for row in rows if math.isfinite(float(row["epoch"]))]
        except (ValueError, KeyError, TypeError, csv.Error):  # edited by someone; at the end it is written from the checkpoint
            return []


def _cell(value: Any, form: str) -> str:
    return "" if value is None or value != value else form.format(float(value))
