"""Training as a stage of a run: a bar, a checkpoint to continue from, the log, and last the weights."""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from ...data import ImageSet
from ...distributed import Processes
from ...files import write_whole
from ...models import save_weights
from ...training import FitResult, Objective, TrainSettings, fit
from .display import Display
from .folder import RunFolder


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

    def summary(row: dict) -> str:
        clean = f" train {row['accuracy']:.1%}" if row["accuracy"] == row["accuracy"] else ""  # NaN: no clean image was seen
        return f"epoch {row['epoch']}/{settings.epochs} loss {row['loss']:.3f}{clean}"

    def show_batch(done: int, total: int) -> None:
        advance(done=done, total=total)
        if team.first:
            folder.lap()

    with folder.stage(title) if team.first else nullcontext(), display.bar(title, None) as advance:
        result = fit(
            network,
            images,
            goal,
            settings=settings,
            checkpoint=folder / "checkpoints" / log,
            seed=seed,
            device=device,
            on_batch=show_batch,
            on_epoch=lambda row: advance(0, note=summary(row)),
        )
        if team.first:
            write_whole(folder / "training" / f"{log}.csv", result.history.to_csv(index=False), follow=False)
            # The last file of the stage: what it stands for is complete when it exists.
            save_weights(network, weights, about)
        team.wait()
    return result
