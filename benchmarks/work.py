"""What one side of a race is asked to do, in the same words for escrime and for every peer."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

QUALIFYING_STEPS, QUALIFYING_IMAGES = 4, 8


@dataclass(frozen=True)
class Work:
    """Attack `images` (N, C, H, W) of `labels` (N,) at every ε of `epsilons`, all N in one batch.

    steps: of iterative attacks, each of 2.5·ε/steps. target: the class of directed attacks.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    epsilons: tuple[float, ...]
    steps: int
    target: int

    @property
    def targets(self) -> Tensor:
        return torch.full_like(self.labels, self.target)

    def step_size(self, eps: float) -> float:
        return 2.5 * eps / self.steps

    def short(self) -> "Work":
        """The same in little: one middle ε and few steps. It warms up, and tells which peer is fastest per pass."""
        middle = self.epsilons[len(self.epsilons) // 2]
        return replace(self, epsilons=(middle,), steps=min(self.steps, QUALIFYING_STEPS))

    def few(self) -> "Work":
        """The same for a few images, where the number of steps is not ours to choose."""
        return replace(self, images=self.images[:QUALIFYING_IMAGES], labels=self.labels[:QUALIFYING_IMAGES])
