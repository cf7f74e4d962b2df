"""Drives iterative attacks: a job is (image, ε) with its own step counter, and the batch is kept full of jobs.

A finished job leaves and the next one enters, so the cost follows the work that is needed. A sweep over ε is one stream.
"""

from functools import partial

import torch
from torch import Tensor

from .base import Attack, Outcome
from .gradients import loss_gradient
from .problem import Problem, check_classes, check_logits, network_batch, passes_per_image, report_not_finite, row_key


class IterativeAttack(Attack):
    """An attack that takes `steps` gradient steps from a start point. A subclass implements start, loss and step.

    early_stop: a job leaves as soon as an iterate succeeds; otherwise every job takes all its steps.
    """

    steps: int
    early_stop: bool = False

    def start(self, images: Tensor, eps: Tensor, keys: list[tuple]) -> dict[str, Tensor]:
        """The state of new jobs: tensors whose first dimension is the job; "x" holds the iterates."""
        raise NotImplementedError

    def loss(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        """One value per row, to be minimized."""
        raise NotImplementedError

    def step(self, state: dict[str, Tensor], gradient: Tensor) -> None:
        """Move state["x"] one step down the gradient, inside ball and box."""
        raise NotImplementedError

    def _sweep(self, model, problem: Problem, epsilons: list[float]) -> list[Outcome]:
        n = len(problem.images)
        job_image = torch.arange(n).repeat(len(epsilons))
        job_eps = torch.tensor(epsilons, dtype=torch.float64).repeat_interleave(n)
        x, forwards, backwards = run_jobs(self, model, problem, job_image, job_eps)
        return [Outcome(a, f, b) for a, f, b in zip(x.split(n), forwards.split(n), backwards.split(n), strict=True)]


def _loss(attack: IterativeAttack, problem: Problem | None, labels: Tensor, targets: Tensor | None, logits: Tensor) -> Tensor:
    """The attack's loss on logits of the right shape; with `problem`, labels and targets are checked against K."""
    check_logits(logits, len(labels))
    if problem is not None:
        check_classes(problem, logits.shape[1])
    return attack.loss(logits, labels, targets)


def run_jobs(attack: IterativeAttack, model, problem: Problem, job_image: Tensor, job_eps: Tensor):
    """Run every job and return the final images (J, C, H, W) and the passes spent on each (J,), (J,)."""
    device = problem.images.device
    copies = passes_per_image(model)
    capacity = max(1, network_batch(problem.images) // (copies * attack.eot))
    jobs = len(job_image)
    result = torch.empty((jobs, *problem.images.shape[1:]), device=device)
    taken = torch.zeros(jobs, dtype=torch.long)  # forward passes per job, in calls
    bad = torch.zeros(len(problem.images), dtype=torch.bool, device=device)
    state: dict[str, Tensor] = {}
    active = torch.zeros(0, dtype=torch.long)  # which jobs are in the batch, on the CPU: needed for keys
    waiting = 0
    while True:
        room = min(capacity - len(active), jobs - waiting)
        if room > 0:
            fresh = torch.arange(waiting, waiting + room)
            waiting += room
            rows = job_image[fresh]
            keys = [row_key(problem, i, attack.name, e, "start") for i, e in zip(rows.tolist(), job_eps[fresh].tolist())]
            started = attack.start(problem.images[rows.to(device)], job_eps[fresh].to(device), keys)
            state = {k: torch.cat([state[k], v]) for k, v in started.items()} if state else started
            active = torch.cat([active, fresh])
        if not len(active):
            break
        if attack.steps == 0:
            result[active.to(device)] = state["x"]
            state, active = {}, active[:0]
            continue
        rows = job_image[active].to(device)
        labels = problem.labels[rows]
        targets = None if problem.targets is None else problem.targets[rows]
        goals = labels.repeat_interleave(attack.eot)
        aims = None if targets is None else targets.repeat_interleave(attack.eot)

        loss = partial(_loss, attack, problem if not taken.any() else None, goals, aims)
        keys = [
            row_key(problem, i, attack.name, e, t)
            for i, e, t in zip(job_image[active].tolist(), job_eps[active].tolist(), taken[active].tolist())
        ]
        logits, gradient = loss_gradient(model, state["x"], loss, keys, attack.eot)
        bad[rows] |= ~(logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1))
        evaluated = state["x"]
        attack.step(state, gradient)
        if attack.early_stop:
            # Judged on the iterate just evaluated, so the last one (after all steps) costs one more pass.
            predicted = logits.argmax(1)
            success = (predicted != labels) if targets is None else (predicted == targets)
            leaving = success.cpu() | (taken[active] == attack.steps)
            final = evaluated
        else:
            leaving = taken[active] + 1 == attack.steps
            final = state["x"]
        taken[active] += 1
        if leaving.any():
            result[active[leaving].to(device)] = final[leaving.to(device)]
            stay = (~leaving).to(device)
            state = {key: value[stay] for key, value in state.items()}
            active = active[~leaving]
    report_not_finite(problem, bad)
    passes = (taken * copies * attack.eot).float()
    return result, passes, passes
