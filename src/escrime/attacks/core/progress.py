"""When a job gives up: success is out of sight (see IterativeAttack), or the average over the noise falls no more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .stepwise import Stepwise

LITTLE, MANY = 0.05, 1024  # see Progress._idle: a shift of the margin in units of its spread, and the draws that show it


@dataclass
class Progress:
    """What the answers of N jobs have gained so far, each field (N,) float32. What an answer lacks to success is negative once
    it succeeds."""

    remaining: Tensor  # the least that any answer lacked
    remained: Tensor  # the same at the last look
    began: Tensor  # what the first answer lacked
    level: Tensor  # the mean margin at the last look
    falling: Tensor  # the margins since then, each the mean over its draws, summed
    spread: Tensor  # their variances over the draws, summed

    @classmethod
    def fresh(cls, jobs: int, device: torch.device) -> Self:
        far, none = torch.full((jobs,), float("inf"), device=device), torch.zeros(jobs, device=device)
        return cls(far, far, far, far, none, none)

    def each(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """A copy whose tensors are change(name, tensor)."""
        return type(self)(**{name: change(name, value) for name, value in vars(self).items()})

    def look(
        self, attack: Stepwise, had: Tensor, lacks: Tensor, shortfalls: Tensor | None, image: Tensor, floor: Tensor | None
    ) -> Tensor:
        """Take note of an answer; which jobs (N,) give up now, (N,) bool.

        had (N,): the queries of each job with this one, on the CPU. lacks (N,): what this one lacks to success. shortfalls
        (N, eot), if known: what each draw lacks. image (N,), on the CPU: which one of the inputs', for `floor`, see Inputs.
        """
        device, half = self.remaining.device, attack.patience // 2
        self.remaining = torch.minimum(self.remaining, lacks.float())
        self.began = torch.where(self.began.isinf(), self.remaining, self.began)
        if shortfalls is not None:
            self.falling = self.falling + shortfalls.mean(1)
            self.spread = self.spread + shortfalls.var(1)
        doublings = (had / half).log2()
        due = (had >= half) & (doublings == doublings.round())
        if not due.any():
            return torch.zeros_like(self.remaining, dtype=torch.bool)
        ahead, behind = (attack.queries / had).log2().clamp_min(0).to(device), had.log2().to(device)
        usual = (self.began - self.remaining) / behind
        gained = torch.maximum(self.remained - self.remaining, usual)
        hopeless = self.remaining > attack.give_up * ahead * gained
        if floor is not None:
            hopeless &= self.remaining > floor[image.to(device)]
        due, late = due.to(device), (had > half).to(device)
        if attack.plateaus and shortfalls is not None:
            hopeless |= self._idle(attack, had, ahead, due)
        self.remained = torch.where(due, self.remaining, self.remained)
        return due & late & hopeless

    def _idle(self, attack: Stepwise, had: Tensor, ahead: Tensor, due: Tensor) -> Tensor:
        """Which jobs (N,) no longer fall: the margin, averaged over the answers (and their draws) since the last look, is below
        that of the look before by so little that all coming doublings, each `give_up` times as good, would not shift it by
        LITTLE of its spread over the noise. For Gaussian noise that is 2 points of the chance to be right."""
        half = attack.patience // 2
        count = torch.where(had > half, had // 2, had).to(due.device)
        level, spread = self.falling / count, (self.spread / count).sqrt()
        idle = attack.give_up * ahead * (self.level - level) < LITTLE * spread
        idle &= count * attack.eot >= MANY  # or the average is chance itself
        self.level = torch.where(due, level, self.level)
        self.falling, self.spread = self.falling.masked_fill(due, 0.0), self.spread.masked_fill(due, 0.0)
        return idle
