"""Drives iterative attacks: a job is (image, ε, restart) with its own step counter, and the batch is kept full of jobs.

A finished job leaves and the next one enters, so the cost follows the work that is needed; a sweep over ε is one stream.
A restart enters only after the one before it has failed.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..randomness import row_keys
from .base import Outcome
from .gradients import loss_gradient
from .iterative import Answer, IterativeAttack, Rows, State
from .problem import Problem, check_classes, check_logits, network_batch, passes_per_image, report_not_finite, row_key


@dataclass(frozen=True)
class Job:
    """Image and ε by index, and the number of the restart."""

    image: int
    eps: int
    restart: int = 0


class Stream:
    """All jobs of one sweep over ε. `run()` returns one Outcome per ε."""

    def __init__(self, attack: IterativeAttack, model, problem: Problem, epsilons: list[float]):
        self.attack, self.model, self.problem, self.epsilons = attack, model, problem, epsilons
        n, self.device = len(problem.images), problem.images.device
        self.waiting = deque(Job(image, eps) for eps in range(len(epsilons)) for image in range(n))
        self.active: list[Job] = []
        self.taken = torch.zeros(0, dtype=torch.long)  # queries each active job has spent
        self.state: State = {}
        self.result = [problem.images.clone() for _ in epsilons]
        self.rank = torch.full((len(epsilons), n, 2), float("inf"))  # of the answer kept: (not adversarial, loss)
        self.queries = torch.zeros(len(epsilons), n)
        self.bad = torch.zeros(n, dtype=torch.bool, device=self.device)
        self.copies = passes_per_image(model)
        self.capacity = max(1, network_batch(problem.images) // (self.copies * attack.eot))
        self.checked = False

    def run(self) -> list[Outcome]:
        if self.attack.steps == 0:
            nothing = torch.zeros(len(self.problem.images))
            return [Outcome(x, nothing, nothing) for x in self.result]
        clean = self._clean_logits() if self.attack.needs_clean_logits else None
        aims = [self.attack.aims(self.problem, clean, restart) for restart in range(self.attack.restarts)]
        self.aims = None if aims[0] is None else torch.stack(aims)
        while self.waiting or self.active:
            self._fill()
            self._query()
        report_not_finite(self.problem, self.bad)
        spent = self.queries * (self.copies * self.attack.eot)
        extra = 0 if clean is None else self.copies / len(self.epsilons)
        return [Outcome(x, passes + extra, passes) for x, passes in zip(self.result, spent, strict=True)]

    def _fill(self) -> None:
        """Let waiting jobs into the batch while there is room."""
        fresh = [self.waiting.popleft() for _ in range(min(self.capacity - len(self.active), len(self.waiting)))]
        if not fresh:
            return
        state = self.attack.start(self._rows(fresh), [self._key(job, "start") for job in fresh])
        if self.attack.keep_best:
            state |= {"best": state["x"], "rank": torch.full((len(fresh), 2), float("inf"), device=self.device)}
        self.state = {k: torch.cat([self.state[k], v]) for k, v in state.items()} if self.active else state
        self.active += fresh
        self.taken = torch.cat([self.taken, torch.zeros(len(fresh), dtype=torch.long)])

    def _query(self) -> None:
        """Ask the model once about every iterate in the batch; let jobs step on or leave."""
        attack, state, rows = self.attack, self.state, self._rows(self.active)
        labels, aims = (None if t is None else t.repeat_interleave(attack.eot) for t in (rows.labels, rows.aims))
        keys = [self._key(job, step) for job, step in zip(self.active, self.taken.tolist(), strict=True)]
        logits, loss, gradient = loss_gradient(self.model, state["x"], partial(self._loss, labels, aims), keys, attack.eot)
        self.bad[rows.images_at] |= ~(logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1))
        targets = None if self.problem.targets is None else self.problem.targets[rows.images_at]
        success = attack.succeeded(logits, rows.labels, targets)
        if attack.keep_best:
            _keep_best(state, torch.stack([(~success).float(), loss], dim=1))
        evaluated = state["x"]
        attack.step(state, Answer(logits, loss, gradient), rows)
        self.taken += 1
        closing = attack.keep_best or attack.early_stop  # the iterate after the last step is evaluated too
        exhausted = self.taken == attack.steps + closing
        # The one wait for the device in a step.
        success = success.cpu() if attack.early_stop else torch.zeros_like(exhausted)
        leaving = success | exhausted
        if leaving.any():
            answer = state["best"] if attack.keep_best else evaluated if closing else state["x"]
            self._leave(leaving, success, answer)

    def _leave(self, leaving: Tensor, success: Tensor, answer: Tensor) -> None:
        """Keep the answers of the jobs that leave, send failed ones to their next restart, close the gap in the batch."""
        rank = self.state["rank"].cpu() if self.attack.keep_best else None
        for row in leaving.nonzero().flatten().tolist():
            job = self.active[row]
            self.queries[job.eps, job.image] += self.taken[row]
            if rank is None or tuple(rank[row]) < tuple(self.rank[job.eps, job.image]):
                self.result[job.eps][job.image] = answer[row]
                if rank is not None:
                    self.rank[job.eps, job.image] = rank[row]
            if not success[row] and job.restart + 1 < self.attack.restarts:
                self.waiting.append(Job(job.image, job.eps, job.restart + 1))
        stay = ~leaving
        self.state = {key: value[stay.to(self.device)] for key, value in self.state.items()}
        self.active = [job for job, stays in zip(self.active, stay.tolist(), strict=True) if stays]
        self.taken = self.taken[stay]

    def _rows(self, jobs: list[Job]) -> Rows:
        image, eps, restart = (
            torch.tensor([getattr(job, part) for job in jobs], device=self.device) for part in ("image", "eps", "restart")
        )
        budget = torch.tensor(self.epsilons, dtype=torch.float64, device=self.device)[eps]
        aims = None if self.aims is None else self.aims[restart, image]
        return Rows(image, self.problem.images[image], self.problem.labels[image], aims, budget)

    def _key(self, job: Job, purpose) -> tuple:
        return row_key(self.problem, job.image, self.attack.name, self.epsilons[job.eps], job.restart, purpose)

    def _loss(self, labels: Tensor, aims: Tensor | None, logits: Tensor) -> Tensor:
        check_logits(logits, len(labels))
        if not self.checked:
            check_classes(self.problem, logits.shape[1])
            self.checked = True
        return self.attack.objective(logits, labels, aims)

    def _clean_logits(self) -> Tensor:
        parts = []
        for start in range(0, len(self.problem.images), self.capacity):
            rows = range(start, min(start + self.capacity, len(self.problem.images)))
            with torch.no_grad(), row_keys([row_key(self.problem, i, self.attack.name, "clean") for i in rows]):
                parts.append(check_logits(self.model(self.problem.images[rows.start : rows.stop]), len(rows)))
        return torch.cat(parts)


def _keep_best(state: State, rank: Tensor) -> None:
    """Keep the evaluated iterate where it ranks below the best so far: adversarial first, then the lowest loss."""
    old = state["rank"]
    better = (rank[:, 0] < old[:, 0]) | ((rank[:, 0] == old[:, 0]) & (rank[:, 1] < old[:, 1]))
    state["best"] = torch.where(better[:, None, None, None], state["x"], state["best"])
    state["rank"] = torch.where(better[:, None], rank, old)
