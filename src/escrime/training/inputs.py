"""The first step of `fit`: what it was given, checked and made ready to be read."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from ..budgets import epsilon
from ..data import ImageSet
from ..data.given import as_image_set
from ..distributed import Processes
from ..validation import check_seed
from .context import LossFunction
from .loader import Loader, steps_per_epoch
from .objectives import objective as named_objective
from .overfitting.holdout import hold_back, probed_eps
from .overfitting.monitor import Monitor
from .session import pick_device
from .settings import TrainSettings
from .setup import check, memory_format


@dataclass(frozen=True)
class TrainingInputs:
    """What one run of `fit` works with.

    team: the processes that share every batch. feed: the training images on the run's device, in the run's memory format;
    rows: those of them that are trained on; monitor: watches the others, None where none are held back. test: the images of
    `evaluate_on`, tested under FGSM at `test_eps`.
    """

    model: nn.Module
    objective: LossFunction
    settings: TrainSettings
    seed: int
    team: Processes
    loader: Loader
    rows: np.ndarray
    monitor: Monitor | None
    test: Loader | None
    test_eps: float

    @classmethod
    def of(
        cls,
        model: nn.Module,
        data: Any,
        objective: str | LossFunction,
        settings: TrainSettings | None,
        seed: int,
        device: torch.device | str | None,
        evaluate_on: Any,
        evaluate_eps: float | str | None,
    ) -> Self:
        """From arguments of `fit`, with their defaults.

        Raises:
            EscrimeError: For what cannot be trained on or with.
        """
        objective = named_objective(objective) if isinstance(objective, str) else objective
        settings = TrainSettings() if settings is None else settings
        check(model, objective, settings)
        seed = check_seed(seed)
        device = pick_device(model, device)
        data = as_image_set(data, "training data")
        evaluate_on = None if evaluate_on is None else as_image_set(evaluate_on, "evaluate_on")
        team, loader, test = Processes(device), Loader(data, device, side=settings.crop_size), None
        loader.layout = memory_format(model, loader, device) if settings.channels_last else torch.contiguous_format
        if evaluate_on is not None:
            test = Loader(evaluate_on, device, "images of evaluate_on")
            test.layout = loader.layout
        test_eps = epsilon(getattr(objective, "eps", 8 / 255) if evaluate_eps is None else evaluate_eps)
        rows, monitor = np.arange(len(loader)), None
        if (eps := probed_eps(objective, settings)) is not None:
            rows, held = hold_back(data, settings.probe_images, seed)
            monitor = Monitor(loader, held, eps, seed, settings)
        team.check(len(rows) // steps_per_epoch(len(rows), settings.batch_size))
        return cls(model, objective, settings, seed, team, loader, rows, monitor, test, test_eps)

    @property
    def device(self) -> torch.device:
        return self.loader.device

    @property
    def data(self) -> ImageSet:
        return self.loader.data

    @property
    def tested_on(self) -> str:
        """Which images at which ε the test columns of the log are of; "" without any."""
        return "" if self.test is None else f"{self.test.data.fingerprint} at {self.test_eps}"
