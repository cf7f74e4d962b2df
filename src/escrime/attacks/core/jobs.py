"""Which jobs an attack runs: every (image, ε) for the fixed-size curve, or a search for the smallest ε of each image."""

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor


class Job(NamedTuple):
    """Image and ε by index, and the number of the restart."""

    image: int
    eps: int
    restart: int = 0


class EpsGrid:
    """Every pair of ε and image on its own; a restart enters only after those before it have failed.

    Args:
        wanted: Which pairs, (K, N) bool.
        restarts: Of each pair, at most.
        concurrent: Restarts that enter together; one Job means all of them, and its number is that of the first.
    """

    def __init__(self, wanted: Tensor, restarts: int, concurrent: int = 1):
        self.restarts, self.concurrent = restarts, concurrent
        self.waiting = deque(Job(image, eps) for eps, image in wanted.nonzero().tolist())

    def next(self) -> Job | None:
        return self.waiting.popleft() if self.waiting else None

    def report(self, job: Job, success: bool, distance: float) -> None:
        """Take note of a job that has left, whether with `success`, with an iterate at `distance` from its image."""
        if not success and job.restart + self.concurrent < self.restarts:
            self.waiting.append(job._replace(restart=job.restart + self.concurrent))

    def sources(self) -> Tensor | None:
        """Which ε's iterate is the result at each (ε, image), (K, N); -1 for the clean image; None where each has its own."""
        return None


class Bisection(EpsGrid):
    """The smallest ε of an ascending grid at which each image is fooled, by halving: an example found at ε₁ is one at every
    larger ε, and an ε at which the attack fails rules out every smaller one.

    Args:
        budgets: The grid, ascending, (K, N).
        restarts: Of each pair of ε and image, at most.
        wanted: Which images, (N,) bool.
        concurrent: See EpsGrid.
    """

    def __init__(self, budgets: Tensor, restarts: int, wanted: Tensor, concurrent: int = 1):
        count, images = budgets.shape
        super().__init__(torch.zeros(0, 0), restarts, concurrent)
        self.budgets = budgets
        self.largest_failure = torch.full((images,), -1)  # as an index of ε
        self.smallest_success = torch.full((images,), count)  # as an index of ε
        self.found_at = torch.full((images,), count)  # at which the example that proves it was found
        self.count = count
        for image in wanted.nonzero().flatten().tolist():
            self._halve(image)

    def _halve(self, image: int) -> None:
        low, high = int(self.largest_failure[image]), int(self.smallest_success[image])
        if low + 1 < high:
            self.waiting.append(Job(image, (low + high) // 2))

    def report(self, job: Job, success: bool, distance: float) -> None:
        if not success and job.restart + self.concurrent < self.restarts:
            return super().report(job, success, distance)
        if success:
            # An example may lie deeper than its ε: it is one at every ε it lies within.
            self.smallest_success[job.image] = min(int((self.budgets[:, job.image] < distance).sum()), job.eps)
            self.found_at[job.image] = job.eps
        else:
            self.largest_failure[job.image] = job.eps
        self._halve(job.image)

    def sources(self) -> Tensor:
        index = torch.arange(self.count)[:, None]
        # Below the smallest success stands the example that failed at the largest ε not above this one, if it was run.
        below = torch.where(index == self.largest_failure, self.largest_failure, -1)
        return torch.where(index >= self.smallest_success, self.found_at, below)
