"""Training as a stage of a run: a bar, a checkpoint to continue from, the log, and last the weights."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from ...bars import is_watched
from ...data import ImageSet
from ...distributed import Processes
from ...evaluation.progress import Meter
from ...files import write_whole
from ...models import save_weights
from ...models.deadline import clock, listening
from ...training import FitResult, Objective, TrainSettings, fit, objective
from ...training.overfitting.holdout import probed_eps
from ...training.pace import passes_to_train
from .display import Display
from .folder import RunFolder

STEP = "step"
PROBE = "measure robustness"  # on the images held back
PROBED = 8.0  # network passes on each of them, about: an attack of ten steps leaves early
EPOCH_LINE = 5  # seconds between lines that tell of epochs


def fit_in_folder(
    folder: RunFolder,
    display: Display,
    title: str,
    network: nn.Module,
    images: ImageSet,
    goal: str | Objective,
    settings: TrainSettings,
    *,
    log: str,
    weights: Path,
    about: dict,
    seed: int,
    device: torch.device,
    team: Processes,
) -> FitResult:
    """Train `network` on `images` towards `goal`, in place. log: the name of its files in training/ and checkpoints/; weights:
    where they are written, with `about`, once they are complete. team: it shares every batch, and its first one writes."""
    with folder.stage(title) if team.first else nullcontext(), display.bar(title, None) as advance:
        watch = Watch(display, title, advance, goal, settings, len(images))

        def show_batch(done: int, total: int) -> None:
            watch.batch(done, total)
            if team.first:
                folder.lap()

        with listening(watch.meter):  # the looks at the images held back are work too
            result = fit(
                network,
                images,
                goal,
                settings=settings,
                checkpoint=folder / "checkpoints" / log,
                seed=seed,
                device=device,
                on_batch=show_batch,
                on_epoch=watch.epoch,
            )
        watch.over()
        if team.first:
            write_whole(folder / "training" / f"{log}.csv", result.history.to_csv(index=False), follow=False)
            # The last file of the stage: what it stands for is complete when it exists.
            save_weights(network, weights, about)
        team.wait()
    return result


class Watch:
    """Shows how far a training is: its steps and its looks at the images held back, both counted in network passes; the latter
    are measured after the first epoch. Where nobody sees a bar, epochs that take long have a line each."""

    def __init__(
        self,
        display: Display,
        title: str,
        advance: Callable[..., None],
        goal: str | Objective,
        settings: TrainSettings,
        images: int,
    ) -> None:
        goal = objective(goal) if isinstance(goal, str) else goal
        self.display, self.title, self.settings, self.note = display, title, settings, ""
        self.held = 0 if probed_eps(goal, settings) is None else settings.probe_images
        self.passes = (images - self.held) * passes_to_train(goal)  # of an epoch
        self.meter = Meter(lambda done, total, name: advance(done=done, total=total, note=self.doing(name)))
        self.said = clock()

    def batch(self, done: int, total: int) -> None:
        """So many steps are done of all of them."""
        meter, epochs = self.meter, self.settings.epochs
        each = total // epochs
        step = max(1, round(self.passes / each))
        if not meter.tasks:
            meter.plan(STEP, total - done + 1, step)
            meter.plan(PROBE, self.held * (epochs - (done - 1) // each), PROBED)
        if (done - 1) % each == 0:
            meter.begin(STEP, each)
        meter(step)
        if done % each == 0 and self.held:
            meter.begin(PROBE, self.held)

    def doing(self, name: str) -> str:
        """What is shown beside the bar while the work called `name` goes on."""
        return self.note if name == STEP else f"{self.note}{', ' * bool(self.note)}{name}"

    def over(self) -> None:
        """All is done."""
        self.meter.end()
        self.meter.name = STEP
        self.meter.finish()

    def epoch(self, row: dict) -> None:
        """An epoch is over, which this is the record of."""
        clean = f" train {row['accuracy']:.1%}" if row["accuracy"] == row["accuracy"] else ""  # NaN: no clean image was seen
        self.note = f"epoch {row['epoch']}/{self.settings.epochs} loss {row['loss']:.3f}{clean}"
        self.meter.end()
        self.meter(0)
        if not is_watched(self.display.console) and clock() - self.said >= EPOCH_LINE and row["epoch"] < self.settings.epochs:
            self.display.say(f"{self.title}: {self.note}")
            self.said = clock()
