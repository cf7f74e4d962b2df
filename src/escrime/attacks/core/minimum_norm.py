"""What attacks that look for the nearest adversarial example share: one search per image answers every ε."""

import math

import torch
from torch import Tensor

from .base import Outcome
from .inputs import Inputs
from .iterative import IterativeAttack, Output, Rows, State
from .jobs import EpsGrid
from .losses import shortfall
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
    confirms = False  # it follows the boundary of an average

    @property
    def early_stop(self) -> bool:
        return self.stop_within

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return shortfall(logits, labels, aims)

    def rank(self, output: Output, x: Tensor, rows: Rows) -> Tensor:
        """Of adversarial iterates the nearest is best, of others the one closest to success."""
        away = self.geometry.distance(x, rows.images).float()
        return torch.where(output.success, away, output.loss.float())

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor:
        return self.geometry.distance(x, rows.images) <= rows.eps

    def remaining(self, output: Output, state: State, rows: Rows) -> Tensor:
        """As of the answer before: whether this one succeeds is not verified yet."""
        return state["nearest"] - rows.eps

    def note(self, state: State, output: Output, rows: Rows) -> Tensor:
        """Note in the state how near (N,) the nearest adversarial iterate is; return the distance (N,) of the present one."""
        away = self.geometry.distance(state["x"], rows.images)
        state["nearest"] = torch.where(output.success, torch.minimum(state["nearest"], away), state["nearest"])
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

    def _sweep(self, twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        smallest = budgets.masked_fill(~wanted, math.inf).amin(0)
        smallest = torch.where(smallest.isinf(), budgets.amax(0), smallest)[None]
        found = Loop(self, twin, inputs, smallest, EpsGrid(wanted.any(0)[None], 1)).run()[0]
        away = self.geometry.distance(found.adversarial, inputs.images).cpu()
        share = len(budgets)
        outcomes = []
        for eps in budgets:
            near = (away <= eps).to(inputs.images.device)[:, None, None, None]
            clipped = self.geometry.project(found.adversarial, inputs.images, eps)
            moved = torch.where(near, found.adversarial, clipped)
            outcomes.append(Outcome(moved, found.forwards / share, found.backwards / share, found.success & (away <= eps)))
        return outcomes
