"""What attacks that look for the nearest adversarial example share: one search per image serves every ε."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from .base import Epsilon, Outcome
from .inputs import Inputs
from .iterative import IterativeAttack, Output, Rows, State
from .jobs import EpsGrid
from .losses import shortfall
from .masks import confined
from .scheduler import Loop


class MinimumNorm(IterativeAttack):
    """Base of FMN, DeepFool, Carlini–Wagner, RayS and HopSkipJump. The search does not know ε: it looks for the nearest
    adversarial example, which is one at every ε it lies within. Where it lies outside, the result is its projection on the
    ball.

    `eps=None` asks for the nearest example however far. With `stop_within` an image leaves once an example lies within its
    smallest ε, so that robust accuracy costs no more than it needs.
    """

    eps: Epsilon | None = None
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
        distance = self.geometry.distance(x, rows.images).float()
        return torch.where(output.success, distance, output.loss.float())

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor | None:
        return self.geometry.distance(x, rows.images) <= rows.eps

    def remaining(self, output: Output, state: State, rows: Rows) -> Tensor:
        """As of the query before: whether this iterate succeeds is not verified yet."""
        return state["nearest"] - rows.eps

    def note(self, state: State, output: Output, rows: Rows) -> Tensor:
        """Note in the state how near the nearest adversarial iterate is.

        Args:
            state: Of the jobs, made from `fresh`.
            output: The model's, for state["x"].
            rows: The images and budgets.

        Returns:
            The distance of the present iterates, float64 (N,).
        """
        distance = self.geometry.distance(state["x"], rows.images)
        state["nearest"] = torch.where(output.success, torch.minimum(state["nearest"], distance), state["nearest"])
        # The image itself was asked first: nothing is nearer than it, and nothing else nearer than the grain.
        state["done"] = state["done"] | (state["nearest"] <= self.geometry.grain)
        return distance

    def fresh(self, rows: Rows) -> State:
        """The part of a new job's state that `note` uses, and the start at the image itself."""
        far = torch.full_like(rows.eps, math.inf)
        return {"x": rows.images, "nearest": far, "done": far < 0}

    def _budget(self, eps: Any) -> float | tuple[float, ...] | None:
        return None if eps is None else super()._budget(eps)

    def _budgets(self, epsilons: Sequence[float | tuple[float, ...] | None], images: Tensor) -> Tensor:
        return super()._budgets([self.geometry.diameter(images) if eps is None else eps for eps in epsilons], images)

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        smallest = budgets.masked_fill(~wanted, math.inf).amin(0)
        smallest = torch.where(smallest.isinf(), budgets.amax(0), smallest)[None]
        found = Loop(self, twin, inputs, smallest, EpsGrid(wanted.any(0)[None], 1)).run()[0]
        distance = self.geometry.distance(found.adversarial, inputs.images).cpu()
        share = len(budgets)
        outcomes = []
        for eps in budgets:
            within = distance <= eps
            clipped = confined(self.geometry.project(found.adversarial, inputs.images, eps), inputs.images, inputs.mask)
            moved = torch.where(within.to(inputs.images.device)[:, None, None, None], found.adversarial, clipped)
            success = None if found.success is None else found.success & within
            outcomes.append(Outcome(moved, found.forwards / share, found.backwards / share, success))
        return outcomes
