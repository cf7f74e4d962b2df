"""What attacks that look for the nearest adversarial example share: one search per image answers every ε."""

import math

import torch
from torch import Tensor

from .base import Outcome
from .inputs import Problem
from .iterative import Answer, IterativeAttack, Rows, State
from .jobs import EpsGrid
from .losses import gap
from .scheduler import Loop


class MinimumNorm(IterativeAttack):
    """Base of FMN, DeepFool and Carlini–Wagner. The search does not know ε: it looks for the nearest adversarial example,
    which answers every ε it lies within. Where it lies outside, the answer is its projection on the ball.

    eps=None asks for the nearest example however far. stop_within: an image leaves once an example lies within its
    smallest ε, so that a verdict costs no more than it needs.
    """

    eps: float | str | None = None
    stop_within: bool = False
    kind = "nearest"
    keep_best = True
    settles = False  # it follows the boundary of an average

    @property
    def early_stop(self) -> bool:
        return self.stop_within

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return gap(logits, labels, aims)

    def rank(self, answer: Answer, x: Tensor, rows: Rows) -> Tensor:
        """Of adversarial iterates the nearest is best, of others the one closest to success."""
        away = self.geometry.distance(x, rows.images).float()
        return torch.where(answer.success, away, answer.loss.float())

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor:
        return self.geometry.distance(x, rows.images) <= rows.eps

    def remaining(self, answer: Answer, state: State, rows: Rows) -> Tensor:
        """As of the answer before: whether this one succeeds is not verified yet."""
        return state["nearest"] - rows.eps

    def note(self, state: State, answer: Answer, rows: Rows) -> Tensor:
        """Note in the state how near (N,) the nearest adversarial iterate is; return the distance (N,) of the present one."""
        away = self.geometry.distance(state["x"], rows.images)
        state["nearest"] = torch.where(answer.success, torch.minimum(state["nearest"], away), state["nearest"])
        state["done"] = state["done"] | (state["nearest"] == 0)  # nothing is nearer than the image itself
        return away

    def fresh(self, rows: Rows) -> State:
        """The part of a new job's state that `note` uses, and the start at the image itself."""
        far = torch.full_like(rows.eps, math.inf)
        return {"x": rows.images, "nearest": far, "done": far < 0}

    def _budget(self, eps):
        return None if eps is None else super()._budget(eps)

    def _budgets(self, epsilons: list, images: Tensor) -> Tensor:
        return super()._budgets([self.geometry.diameter(images) if eps is None else eps for eps in epsilons], images)

    def _sweep(self, twin, problem: Problem, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        smallest = budgets.masked_fill(~wanted, math.inf).amin(0)
        smallest = torch.where(smallest.isinf(), budgets.amax(0), smallest)[None]
        found = Loop(self, twin, problem, smallest, EpsGrid(wanted.any(0)[None], 1)).run()[0]
        away = self.geometry.distance(found.adversarial, problem.images).cpu()
        share = len(budgets)
        outcomes = []
        for eps in budgets:
            near = (away <= eps).to(problem.images.device)[:, None, None, None]
            clipped = self.geometry.project(found.adversarial, problem.images, eps)
            moved = torch.where(near, found.adversarial, clipped)
            outcomes.append(Outcome(moved, found.forwards / share, found.backwards / share, found.success & (away <= eps)))
        return outcomes
