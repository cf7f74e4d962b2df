"""Losses of an epoch, kept on the device and looked at rarely, so that a step never waits for its loss."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import EscrimeError

EVERY = 50  # steps between two looks


class LossWatch:
    """Collects the losses of epoch `epoch` (from 1) and stops the run at the first that is NaN or infinite.

    finite: names of what is finite in the model's state; a mask may hold infinity all along.
    """

    def __init__(self, epoch: int, finite: set[str], last_good: str):
        self.epoch, self.finite, self.last_good = epoch, finite, last_good
        self.total, self.images, self.step = 0.0, 0, 0
        self._pending: list[tuple[Tensor, int, float]] = []

    def add(self, loss: Tensor, images: int, rate: float) -> None:
        """Note one step's loss, its number of images and its learning rate."""
        self._pending.append((loss.detach(), images, rate))
        if len(self._pending) >= EVERY:
            self.look()

    def look(self) -> None:
        """Check what has been collected since the last look; EscrimeError names the first step that went wrong."""
        if not self._pending:
            return
        values = torch.stack([loss for loss, _, _ in self._pending]).double().tolist()
        for value, (_, images, rate) in zip(values, self._pending):
            self.step += 1
            if not math.isfinite(value):
                raise self._diverged(f"the loss became {value}", rate)
            self.total += value * images
            self.images += images
        self._last_rate = self._pending[-1][2]
        self._pending.clear()

    def check_weights(self, model: nn.Module) -> None:
        """Refuse weights that the last step has ruined although its loss was finite: they must not be saved as good."""
        if self.finite - finite_names(model):
            raise self._diverged("a weight became NaN or infinite", self._last_rate)

    def mean(self, total: Callable[[list[float]], list[float]] = list) -> float:
        """Mean loss per image so far. total: adds up several processes."""
        loss, images = total([self.total, self.images])
        return loss / images

    def _diverged(self, what: str, rate: float) -> EscrimeError:
        return EscrimeError(
            f"training diverged: {what} at step {self.step} of epoch {self.epoch} (learning rate {rate:g}); "
            f"{self.last_good}. Lower learning_rate or set clip_gradient."
        )


def finite_names(model: nn.Module) -> set[str]:
    """Names of the floating-point tensors of the model's state that hold finite numbers only."""
    floats = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    if not floats:
        return set()
    finite = torch.stack([tensor.isfinite().all() for tensor in floats.values()]).tolist()
    return {name for name, good in zip(floats, finite) if good}
