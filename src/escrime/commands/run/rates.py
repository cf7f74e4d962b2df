"""How fast this machine is with a given network, measured in a moment: the base of every time estimate."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ...attacks.core.gradients import loss_gradient
from ...models.running import no_trace


@dataclass(frozen=True)
class Rates:
    """Seconds per image for a forward pass, and for a forward-and-backward pass."""

    forward: float
    gradient: float


def measure(model: nn.Module, size: int, device: torch.device, batch: int = 32) -> Rates:
    """Time `model` on random images (batch, 3, size, size): best of a few repeats after a warm-up, about a second."""
    images, keys = torch.full((batch, 3, size, size), 0.5, device=device), torch.zeros(batch, dtype=torch.int64)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def gradient() -> None:
        loss_gradient(model, images, lambda logits: logits.logsumexp(1), keys)

    with no_trace(model, device):
        return Rates(*(_best(work, device) / batch for work in (forward, gradient)))


def _best(work: Callable[[], None], device: torch.device, budget: float = 0.25) -> float:
    work()
    best, spent = float("inf"), 0.0
    while spent < budget:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best
