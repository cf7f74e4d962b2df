"""`fit`: the training loop, step by step.

What it is given becomes `TrainingInputs` (inputs.py), `Trainer` (trainer.py) trains one epoch, `Checkpoint` (checkpoint.py) is
the state on the disk, and `Monitor` (overfitting/monitor.py) probes the images held back.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..files import locked
from ..models.normalized import returning_logits
from ..progress import Listener, ProgressOption, shown
from ..regular_files import expanded
from .checkpoint import LAST, Checkpoint
from .context import LossFunction
from .identity import identity, weights_digest
from .inputs import TrainingInputs
from .overfitting.alarms import PROBED
from .overfitting.best import BEST
from .overfitting.probe import accuracies
from .session import session
from .settings import TrainSettings
from .setup import last_good, unused
from .trainer import MEASURED, Trainer

COLUMNS = (*MEASURED, *PROBED)


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    model: the module that was given, trained in place, in evaluation mode (with EMA it holds the averaged weights).
    history: one row per epoch: epoch (from 1), loss (mean over images), accuracy (on the clean training images the loss
        saw, NaN if none), adversarial_accuracy (on the adversarial ones), learning_rate (of the last step), seconds and
        images_per_second of the training itself; probe_clean, probe_fgsm, probe_pgd (accuracy on the held-back images,
        NaN without a probe, see `probe_images` of TrainSettings); with `evaluate_on` also test_accuracy,
        test_fgsm_accuracy, test_eps.
    resumed: epochs that were found done in the checkpoint.
    checkpoint: the file to resume from, or None; with a probe best.safetensors lies beside it.
    epoch: whose weights the model holds, from 1.
    best_epoch: the epoch (from 1) of the highest probed PGD accuracy; None without a probe.
    best_weights: its weights (with EMA the averaged ones) by their names in the model's state_dict, on the CPU.
    warnings: sentences about settings without effect, and catastrophic and robust overfitting; see alarms.py.
    """

    model: nn.Module
    history: pd.DataFrame
    resumed: int = 0
    checkpoint: Path | None = None
    epoch: int = 0
    best_epoch: int | None = None
    best_weights: dict[str, Tensor] | None = None
    warnings: list[str] = field(default_factory=list)


@torch.inference_mode(False)
def fit(
    model: nn.Module,
    data: Any,
    objective: str | LossFunction = "clean",
    *,
    settings: TrainSettings | None = None,
    checkpoint: Path | str | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    progress: ProgressOption = None,
    evaluate_on: Any = None,
    evaluate_eps: float | str | None = None,
    same_start: bool = False,
    teacher: nn.Module | None = None,
) -> FitResult:
    """Train `model` in place on `data` to minimize `objective`.

    With `probe_images` in the settings, an objective with an ε holds back images and watches for overfitting on them: see
    TrainSettings and FitResult.

    Where torch.distributed is set up, as under torchrun, the processes share every batch: `batch_size` is that of all of
    them together (see distributed.py). The first one probes, evaluates and writes; every one returns the same weights, but
    `best_weights` only the first.

    Global random generators, gradient mode and memory format are afterwards as they were; gradients are None.

    Args:
        model: The network, images float32 (N, C, H, W) in [0, 1] → logits (N, K).
        data: The training images, an ImageSet, or images and labels as you have them (see `data.given.read`), whose pixels are
            rounded to 8 bits; they are read once, so leave augmentation to the settings.
        objective: A name ("clean", "fgsm-mixed", …), an Objective, or any callable (model, images, labels, context) → loss.
        settings: A TrainSettings; the default is the paper's.
        checkpoint: A folder; after each epoch everything needed to continue is written there (less often where writing takes
            over a second and a tenth of the time), and a run found there is continued: on a CPU the final weights are bit
            for bit those of an uninterrupted run.
        seed: Of the order of images, augmentation, crafting noise and dropout (not of the initial weights: those are the
            model's).
        device: Where to train; None is where the model is.
        on_batch: on_batch(done, total) is called after each step.
        on_epoch: on_epoch(record) is called after each epoch.
        progress: True for a bar, a callable (done, total, note) that is called with steps, False for neither; by default a bar
            on a terminal or in a notebook, unless `on_batch` is given.
        evaluate_on: Such images, on which clean and FGSM accuracy are measured after each epoch.
        evaluate_eps: The ε of that FGSM, by default the objective's, else 8/255.
        same_start: Refuse a checkpoint that started from other weights than the model's; else its weights are used, with a
            warning.
        teacher: A network with the same classes whose outputs for the training images the objective compares with beside
            their labels; see `teacher_weight` and `temperature` of TrainSettings. It is copied, and stays as it was.

    Returns:
        The model, the history of its epochs and the best weights, as a FitResult.

    Raises:
        EscrimeError: For unusable input, a checkpoint of another run, a loss that diverges, a disk that is full.
    """
    inputs = TrainingInputs.of(model, data, objective, settings, seed, device, evaluate_on, evaluate_eps)
    folder = None if checkpoint is None else expanded(checkpoint)
    watched = progress if inputs.team.first and (progress is not None or on_batch is None) else False
    with (
        shown(watched, "Train") as listener,
        _alone(folder, inputs),
        session(model, inputs.device, inputs.loader.layout),
        returning_logits(model),
    ):
        trainer = Trainer(inputs, teacher)
        saved = None if folder is None else _checkpoint(folder, trainer, same_start)
        history = _resume(trainer, saved)
        resumed = len(history)
        while not _over(inputs, history):
            record = trainer.epoch(len(history), last_good(saved), _told(on_batch, listener, history, inputs.settings.epochs))
            history.append(_measured(trainer, history, record))
            _keep(trainer, saved, history)
            if inputs.monitor is not None and inputs.team.first:
                inputs.monitor.tell(history)
            if on_epoch is not None:
                on_epoch(dict(history[-1]))
        epoch = _finish(trainer, history)
    return _result(trainer, history, resumed, epoch, saved)


def _told(
    on_batch: Callable[[int, int], None] | None, listener: Listener | None, history: list[dict], epochs: int
) -> Callable[[int, int], None] | None:
    """`on_batch`, which tells the listener too, with the loss of the last epoch of `history`."""
    if listener is None:
        return on_batch
    loss = f", loss {history[-1]['loss']:.3f}" if history else ""

    def tell(done: int, total: int) -> None:
        listener(done, total, f"epoch {len(history) + 1}/{epochs}{loss}")
        if on_batch is not None:
            on_batch(done, total)

    return tell


def _alone(folder: Path | None, inputs: TrainingInputs) -> AbstractContextManager:
    """Within the block no other run writes into the checkpoint folder."""
    return locked(folder, "give another checkpoint folder") if folder is not None and inputs.team.first else nullcontext()


def _checkpoint(folder: Path, trainer: Trainer, same_start: bool) -> Checkpoint:
    """The run's file in `folder`; the model holds the weights that it starts from."""
    model, inputs = trainer.model, trainer.inputs
    run = identity(model, inputs.data, inputs.objective, inputs.settings, inputs.seed, trainer.teacher_digest)
    return Checkpoint(folder / LAST, run, weights_digest(model), same_start, inputs.tested_on)


def _resume(trainer: Trainer, saved: Checkpoint | None) -> list[dict]:
    """Put what was saved, if anything, into the trainer and the monitor; the records of the epochs found done."""
    model, data, monitor, team = trainer.model, trainer.inputs.data, trainer.inputs.monitor, trainer.inputs.team
    resumed, history = saved.load(model, trainer.optimizer, trainer.average) if saved else (0, [])
    team.agree((resumed, len(data.ids), data.fingerprint), "(epochs found done, images, their fingerprint)")
    if monitor is not None and team.first:
        with trainer.averaged():
            monitor.resume(model, history, *((saved.path.with_name(BEST), saved.identity) if saved else (None, None)))
    return history


def _over(inputs: TrainingInputs, history: list[dict]) -> bool:
    """Whether every epoch is done, or the monitor stops the run."""
    return len(history) >= inputs.settings.epochs or (inputs.monitor is not None and inputs.monitor.stops(history))


def _measured(trainer: Trainer, history: list[dict], record: dict) -> dict:
    """The whole record of an epoch that follows `history`: with what the first process measures on the images held back and
    on those of `evaluate_on`, with the weights that would be returned now."""
    inputs, model = trainer.inputs, trainer.model
    record = dict.fromkeys(COLUMNS, math.nan) | record
    if inputs.monitor is not None and inputs.team.first:
        with trainer.averaged():
            record |= inputs.monitor.look(model, history, record)
    if inputs.test is not None and inputs.team.first:
        with trainer.averaged():
            clean, fooled = accuracies(model, inputs.test, inputs.test_eps)
        record |= {"test_accuracy": clean, "test_fgsm_accuracy": fooled, "test_eps": inputs.test_eps}
    return inputs.team.broadcast(record)


def _keep(trainer: Trainer, saved: Checkpoint | None, history: list[dict]) -> None:
    """Write the state after the last epoch of `history` where that is due, and after it the best weights."""
    inputs, monitor = trainer.inputs, trainer.inputs.monitor
    if saved is None or not inputs.team.first:
        return
    if _over(inputs, history) or saved.due() or (monitor is not None and monitor.best.unsaved):
        saved.save(trainer.model, trainer.optimizer, trainer.average, len(history), history)
        if monitor is not None:
            monitor.best.save()


def _finish(trainer: Trainer, history: list[dict]) -> int:
    """Leave in the model, in every process, the weights that are returned; the epoch (from 1) that they are of."""
    monitor, team = trainer.inputs.monitor, trainer.inputs.team
    if monitor is not None and monitor.holds_best(history):
        epoch = team.broadcast(monitor.best.epoch)
        if team.first:
            monitor.best.restore(trainer.model)
        team.same_weights(trainer.model)
        return epoch
    if trainer.average is not None:
        trainer.average.swap()
    return len(history)


def _result(trainer: Trainer, history: list[dict], resumed: int, epoch: int, saved: Checkpoint | None) -> FitResult:
    inputs, monitor = trainer.inputs, trainer.inputs.monitor
    path, table = saved.path if saved else None, pd.DataFrame([dict.fromkeys(COLUMNS, math.nan) | row for row in history])
    ignored = unused(inputs.settings, monitor is not None, trainer.teacher, len(history) > resumed)
    if monitor is None:
        return FitResult(trainer.model, table, resumed, path, epoch, warnings=ignored)
    best_epoch, warned = inputs.team.broadcast(monitor.best.epoch) or None, ignored + monitor.sentences(history)
    return FitResult(trainer.model, table, resumed, path, epoch, best_epoch, monitor.best.weights or None, warned)
