"""Wrappers around a model that count its passes, or time them, from outside, whoever runs it.

Both survive the deep copy that escrime makes to prepare its faster model: original and copy share one tally.
"""

import time

import torch
from torch import Tensor, nn

from .timing import wait


class Tally:
    """Rows that went forwards and backwards."""

    def __init__(self):
        self.forwards = self.backwards = 0

    def __deepcopy__(self, memo):
        return self

    def backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class Counted(nn.Module):
    """`model`, its passes counted in `tally`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.tally = model, Tally()

    def forward(self, images: Tensor) -> Tensor:
        self.tally.forwards += len(images)
        logits = self.model(images)
        if logits.requires_grad:
            logits.register_hook(self.tally.backward)
        return logits


class Timed(nn.Module):
    """`model`, with the seconds spent in its forward and backward passes in `seconds`.

    A backward pass lasts from the arrival of the gradient at the logits to that at the images.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        super().__init__()
        self.model, self.device, self.seconds, self.started = model, device, 0.0, 0.0

    def forward(self, images: Tensor) -> Tensor:
        self._start()
        logits = self.model(images)
        self._stop()
        if logits.requires_grad:
            logits.register_hook(self._start)
            images.register_hook(self._stop)
        return logits

    def _start(self, gradient: Tensor | None = None) -> None:
        wait(self.device)
        self.started = time.perf_counter()

    def _stop(self, gradient: Tensor | None = None) -> None:
        wait(self.device)
        self.seconds += time.perf_counter() - self.started
