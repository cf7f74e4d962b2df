"""When a job gives up: success is out of sight (see IterativeAttack), or the average over the noise falls no more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .stepwise import Stepwise

LITTLE, MANY = 0.05, 1024  # see Progress._stalled: a shift of the margin in units of its spread, and the draws that show it


@dataclass
class Progress:
    """What the queries of N jobs have gained so far, each field (N,) float32. How far an iterate is from success, what remains,
    is negative once it succeeds. A check is one every doubling of the queries."""

    remaining: Tensor  # the least of all queries
    remaining_before: Tensor  # the same at the last check
    remaining_first: Tensor  # of the first query
    margin_before: Tensor  # the mean margin at the last check
    margin_sum: Tensor  # of the margins since then, each the mean over its draws
    variance_sum: Tensor  # of their variances over the draws

    @classmethod
    def fresh(cls, jobs: int, device: torch.device) -> Self:
        far, none = torch.full((jobs,), float("inf"), device=device), torch.zeros(jobs, device=device)
        return cls(far, far, far, far, none, none)

    def each(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """A copy whose tensors are change(name, tensor)."""
        return type(self)(**{name: change(name, value) for name, value in vars(self).items()})

    def update(
        self,
        attack: Stepwise,
        give_up: float,
        queries: Tensor,
        remaining: Tensor,
        shortfalls: Tensor | None,
        image: Tensor,
        floor: Tensor | None,
    ) -> Tensor:
        """Take note of a query of every job, and see which give up.

        Args:
            attack: Whose jobs they are.
            give_up: Its setting, see IterativeAttack.
            queries: Of each job, this one among them, (N,) on the CPU.
            remaining: How far this iterate of each is from success, (N,).
            shortfalls: The same of each noise draw, (N, eot), if known.
            image: Which one of the inputs', (N,) on the CPU, for `floor`.
            floor: See Inputs.

        Returns:
            The jobs that give up now, (N,) bool.
        """
        device, half = self.remaining.device, attack.patience // 2
        self.remaining = torch.minimum(self.remaining, remaining.float())
        self.remaining_first = torch.where(self.remaining_first.isinf(), self.remaining, self.remaining_first)
        if shortfalls is not None:
            self.margin_sum = self.margin_sum + shortfalls.mean(1)
            self.variance_sum = self.variance_sum + shortfalls.var(1)
        doublings = (queries / half).log2()
        due = (queries >= half) & (doublings == doublings.round())
        if not due.any():
            return torch.zeros_like(self.remaining, dtype=torch.bool)
        ahead, behind = (attack.queries / queries).log2().clamp_min(0).to(device), queries.log2().to(device)
        usual = (self.remaining_first - self.remaining) / behind
        gained = torch.maximum(self.remaining_before - self.remaining, usual)
        out_of_sight = self.remaining > give_up * attack.leaps * ahead * gained
        if floor is not None:
            out_of_sight &= self.remaining > floor[image.to(device)]
        due, late = due.to(device), (queries > half).to(device)
        if attack.plateaus and shortfalls is not None:
            out_of_sight |= self._stalled(attack, give_up, queries, ahead, due)
        self.remaining_before = torch.where(due, self.remaining, self.remaining_before)
        return due & late & out_of_sight

    def _stalled(self, attack: Stepwise, give_up: float, queries: Tensor, ahead: Tensor, due: Tensor) -> Tensor:
        """The jobs (N,) whose margin falls no more: averaged over the queries (and their draws) since the last check, it is
        below that of the check before by so little that all coming doublings, each `give_up` times as good, would not shift it
        by LITTLE of its spread over the noise. For Gaussian noise that is 2 points of the probability to be right."""
        half = attack.patience // 2
        count = torch.where(queries > half, queries // 2, queries).to(due.device)
        margin, spread = self.margin_sum / count, (self.variance_sum / count).sqrt()
        stalled = give_up * ahead * (self.margin_before - margin) < LITTLE * spread
        stalled &= count * attack.eot >= MANY  # or the average is chance itself
        self.margin_before = torch.where(due, margin, self.margin_before)
        self.margin_sum = self.margin_sum.masked_fill(due, 0.0)
        self.variance_sum = self.variance_sum.masked_fill(due, 0.0)
        return stalled
