"""`fit`: the training loop."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..budgets import epsilon
from ..data import ImageSet
from ..distributed import Processes
from ..files import locked
from ..models.fast.kernels import Kernels
from ..randomness import check_seed
from ..regular import expanded
from .augment import augment
from .averaging import Average
from .checkpoint import LAST, Checkpoint
from .context import Context, LossFunction, Tally
from .divergence import LossWatch, finite_names
from .identity import appearance, identity, weights_digest
from .loader import Feed, epoch_order, steps_per_epoch
from .noise import Draws, image_keys
from .objectives import objective as named_objective
from .overfitting.alarms import PROBED
from .overfitting.best import BEST
from .overfitting.holdout import hold_back, probed_eps
from .overfitting.monitor import Monitor
from .overfitting.probe import accuracies
from .schedule import learning_rate
from .session import own_generators, pick_device, seed_dropout, session, training_mode
from .settings import TrainSettings
from .setup import check, check_loss, count_classes, explained, last_good, make_optimizer, memory_format, statistics, unused
from .teacher import Teacher

COLUMNS = ("epoch", "loss", "accuracy", "adversarial_accuracy", "learning_rate", "seconds", "images_per_second", *PROBED)


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
    data: ImageSet,
    objective: str | LossFunction = "clean",
    *,
    settings: TrainSettings | None = None,
    checkpoint: Path | str | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    evaluate_on: ImageSet | None = None,
    evaluate_eps: float | str | None = None,
    same_start: bool = False,
    teacher: nn.Module | None = None,
) -> FitResult:
    """Train `model` in place on `data` to minimize `objective`.

    With `probe_images` in the settings, an objective with an ε holds back images and watches for overfitting on them: see
    TrainSettings and FitResult.

    Where torch.distributed is set up, as under torchrun, the processes share every batch: `batch_size` is that of all of
    them together (see processes.py). The first one probes, evaluates and writes; every one returns the same weights, but
    `best_weights` only the first.

    Global random generators, gradient mode and memory format are afterwards as they were; gradients are None.

    Args:
        model: The network, images float32 (N, C, H, W) in [0, 1] → logits (N, K).
        data: The training images, an ImageSet.
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
        evaluate_on: An ImageSet on which clean and FGSM accuracy are measured after each epoch.
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
    objective = named_objective(objective) if isinstance(objective, str) else objective
    settings = TrainSettings() if settings is None else settings
    check(model, objective, settings)
    seed = check_seed(seed)
    device = pick_device(model, device)
    team, feed = Processes(device), Feed(data, device, side=settings.crop_size)
    layout = memory_format(model, feed, device) if settings.channels_last else torch.contiguous_format
    feed.layout, probe = layout, None
    if evaluate_on is not None:
        probe = Feed(evaluate_on, device, "images of evaluate_on")
        probe.layout = layout
    probe_eps = epsilon(getattr(objective, "eps", 8 / 255) if evaluate_eps is None else evaluate_eps)
    kept, monitor = np.arange(len(feed)), None
    if (eps := probed_eps(objective, settings)) is not None:
        kept, held = hold_back(data, settings.probe_images, seed)
        monitor = Monitor(feed, held, eps, seed, settings)
    steps = steps_per_epoch(len(kept), settings.batch_size)
    team.check(len(kept) // steps)
    keys = image_keys(seed, data.ids)

    folder = None if checkpoint is None else expanded(checkpoint)
    alone = locked(folder, "give another checkpoint folder") if folder is not None and team.first else nullcontext()
    with alone, session(model, device, layout):
        classes = count_classes(model, feed)
        if probe is not None:
            count_classes(model, probe)
        team.same_weights(model)
        guide = known_as = None
        if teacher is not None:
            seed_dropout(device, seed, 0)  # a random teacher's first answers, too, hang on the seed alone
            guide = Teacher(teacher, feed.first(2), classes, settings.teacher_weight, settings.temperature)
            known_as = appearance(teacher)
            team.agree(known_as, "a teacher with the digest")
        kernels = Kernels(model).installed if layout == torch.channels_last and device.type == "cpu" else ExitStack
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(parameters, settings, device)
        average = None if settings.ema is None else Average(model, settings.ema)
        averaged = average.in_place if average is not None else ExitStack  # the model holds what would be returned
        saved, finite = None, finite_names(model)
        if folder is not None:
            run = identity(model, data, objective, settings, seed, known_as)
            tested_on = "" if evaluate_on is None else f"{evaluate_on.fingerprint} at {probe_eps}"
            saved = Checkpoint(folder / LAST, run, weights_digest(model), same_start, tested_on)
        resumed, history = saved.load(model, optimizer, average) if saved else (0, [])
        team.agree((resumed, len(feed), data.fingerprint), "(epochs found done, images, their fingerprint)")
        if monitor is not None and team.first:
            with averaged():
                monitor.resume(model, history, *((saved.path.with_name(BEST), saved.identity) if saved else (None, None)))

        for epoch in range(resumed, settings.epochs):
            if monitor is not None and monitor.stops(history):
                break
            training_mode(model, settings.freeze_batchnorm)
            seed_dropout(device, seed, epoch, team.rank)
            draws, tally = Draws(keys, epoch), Tally()
            good = last_good(saved)
            watch = LossWatch(epoch + 1, finite, good)
            started = time.perf_counter()
            for index, rows in enumerate(epoch_order(len(kept), seed, epoch, settings.batch_size)):
                weight, rows = team.weight(rows), kept[team.part(rows)]
                done = epoch * steps + index
                rate = learning_rate(settings, done, settings.epochs * steps)
                pixels, labels = feed.pixels(rows)
                pixels = augment(pixels, partial(draws.fractions, rows=rows), settings)
                context = Context(rows, draws, classes, settings.label_smoothing, tally, guide)
                optimizer.zero_grad(set_to_none=True)
                with explained(settings, good), kernels():  # backward too: checkpointed parts of a model run again there
                    images = feed.floats(pixels)
                    context.show(images)
                    with torch.autocast(device.type, torch.bfloat16, settings.precision == "bfloat16", cache_enabled=False):
                        loss = objective(model, images, labels, context)
                    check_loss(loss, objective)
                    (loss if weight == 1 else loss * weight).backward()
                team.average_gradients(parameters)
                if settings.clip_gradient is not None:
                    nn.utils.clip_grad_norm_(parameters, settings.clip_gradient)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                if average is not None:
                    average.update(done)
                watch.add(loss, len(rows), rate)
                if on_batch is not None:
                    with own_generators(device):
                        on_batch(done + 1, settings.epochs * steps)
            watch.look()
            watch.check_weights(model)
            seconds = time.perf_counter() - started
            team.average(statistics(model, average))
            values = (epoch + 1, watch.mean(team.total), *tally.accuracies(team.total), rate, seconds, len(kept) / seconds)
            record = dict.fromkeys(COLUMNS, math.nan) | dict(zip(COLUMNS, values))
            if monitor is not None and team.first:
                with averaged():
                    record |= monitor.look(model, history, record)
            if probe is not None and team.first:
                with averaged():
                    clean, fooled = accuracies(model, probe, probe_eps)
                record |= {"test_accuracy": clean, "test_fgsm_accuracy": fooled, "test_eps": probe_eps}
            record = team.told(record)
            history.append(record)
            last = epoch + 1 == settings.epochs or (monitor is not None and monitor.stops(history))
            if saved is not None and team.first and (last or saved.due() or (monitor is not None and monitor.best.unsaved)):
                saved.save(model, optimizer, average, epoch + 1, history)
                if monitor is not None:
                    monitor.best.save()
            if monitor is not None and team.first:
                monitor.tell(history)
            if on_epoch is not None:
                on_epoch(dict(record))
        epoch = len(history)
        if monitor is not None and monitor.holds_best(history):
            epoch = team.told(monitor.best.epoch)
            if team.first:
                monitor.best.restore(model)
            team.same_weights(model)
        elif average is not None:
            average.swap()
    path, table = saved.path if saved else None, pd.DataFrame([dict.fromkeys(COLUMNS, math.nan) | record for record in history])
    ignored = unused(settings, monitor is not None, guide, len(history) > resumed)
    if monitor is None:
        return FitResult(model, table, resumed, path, epoch, warnings=ignored)
    best_epoch = team.told(monitor.best.epoch) or None
    return FitResult(
        model, table, resumed, path, epoch, best_epoch, monitor.best.weights or None, ignored + monitor.sentences(history)
    )
