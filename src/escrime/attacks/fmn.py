"""FMN. Pintor, Roli, Brendel, Biggio (2021), Fast minimum-norm adversarial attacks through adaptive norm constraints,
algorithm 1."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import DEFAULT, free_to_fall, per_image
from ..validation import check_real, check_whole
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.minimum_norm import MinimumNorm

HALVED = 2, 6  # after how many steps the step size has halved: where δ moves every value, and in a sparse norm
GAMMA_LAST = 0.001  # of γ, which falls as 1/(1 + k) towards it
LEAST = 0.2  # of γ: by which share of it the ball shrinks at least where the iterate is adversarial
SOONEST = 16  # steps before an image may leave
CLOSE = 10  # an example this many tolerances beyond ε is searched for to the end


@dataclass(frozen=True)
class FMN(MinimumNorm):
    """The nearest adversarial example: gradient steps in a ball whose radius follows the decision boundary.

    δ ← Π_r(δ − α·r·u), where L is the margin, u its steepest direction in the norm (sign ∇L in l_inf, ∇L/‖∇L‖₂ in l2) and Π_r
    projects on the ball of radius r. That is, times 1 + γ, the distance ‖δ‖ + L/‖∇L‖_q of the linearized boundary, with L < 0
    where the iterate is adversarial; it is never beyond the nearest example found, and a little nearer where the iterate is
    adversarial. In l1 and l0 u is ∇L/‖∇L‖₂, α·√r its length, Π_r projects on ball ∩ [0, 1] at once, and the boundary is
    that of a linear model in the box; in l0, where the paper counts single color values and the norm here counts pixels, r
    changes by 1 at least.

    The paper moves r by ±γ once an example is found, takes steps of a length that does not depend on r, and lets both fall
    along a cosine over all steps. Following the boundary by its slope and stepping in proportion to r comes within a percent
    of the same distance in a fifth of the steps (l1: a half), and nothing hangs on how many were asked for: an image leaves
    when it comes no nearer.

    Source: Pintor, Roli, Brendel, Biggio (2021), Fast minimum-norm adversarial attacks, algorithm 1.

    Args:
        eps: Largest distance of interest, a fraction of the color range in l_inf, a length in l2 and l1, a count of pixels in
            l0; None for any (see MinimumNorm).
        norm: "linf", "l2", "l1" or "l0".
        steps: K, of the search, at most.
        step_size: α of the first step, in radii (in l1 and l0 in square roots of them); it has halved after 2 steps (6), is a
            third after 4 (12), and so on.
        gamma: γ of the first step, a share of the radius.
        tolerance: An image leaves once its nearest example came nearer by less than this share over the last third of its
            steps, of which there are at least 16, unless ε is close by; 0 makes all steps, and so does noise.
        target: The class to reach; None for any misclassification.
        stop_within: Whether an image leaves at its first example within ε.
        give_up: How soon to leave an image on which success within ε is out of sight (see IterativeAttack); None for never.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    norm: str = DEFAULT
    steps: int = 100
    step_size: float = 2.0
    gamma: float = 0.02
    tolerance: float = 0.005
    target: int | None = None
    stop_within: bool = False
    give_up: float | None = None
    eot: int = 1

    norms = ("linf", "l2", "l1", "l0")
    access = "gradients"
    paper = (
        "Pintor, Roli, Brendel, Biggio (2021), Fast minimum-norm adversarial attacks through adaptive norm "
        "constraints, arXiv:2102.12827"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps", hint="such as 100")
        self._put(check_real, "step_size", above=0, hint="such as 2.0, in radii of the ball")
        self._put(check_real, "gamma", above=0, below=1, hint="such as 0.02, a share of the radius")
        self._put(check_real, "tolerance", low=0, below=1, hint="such as 0.005, a share of the distance; 0 makes all steps")

    def start(self, rows: Rows, keys: Tensor) -> State:
        zero, far = torch.zeros_like(rows.eps), torch.full_like(rows.eps, math.inf)
        return self.fresh(rows) | {"step": zero, "gained_at": zero, "gained": far}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        distance, gradient, geometry = self.note(state, output, rows), output.needed_gradient(), self.geometry
        radius = self._radius(distance, output, gradient, state, rows).clamp(0, geometry.diameter(rows.images))
        alpha = self.step_size / (1 + state["step"] / HALVED[geometry.sparse])
        if geometry.sparse:  # what the box cuts off a few values would be missing in the others
            direction = gradient / per_image(gradient.flatten(1).norm(dim=1).clamp_min(1e-30), gradient).float()
            moved = state["x"] - per_image(alpha * radius.sqrt(), gradient).float() * direction
            state["x"] = geometry.project(moved, rows.images, radius)
        else:
            direction = geometry.steepest(free_to_fall(state["x"], gradient))
            moved = (state["x"] - per_image(alpha * radius, gradient).float() * direction).clamp(0, 1)
            state["x"] = (rows.images + geometry.clip(moved - rows.images, radius)).clamp(0, 1)
        state["step"] = state["step"] + 1
        if self.tolerance and self.eot == 1:  # with noise an example that is near may be a lucky draw
            self._leave_where_no_nearer(state, rows)

    def _radius(self, distance: Tensor, output: Output, gradient: Tensor, state: State, rows: Rows) -> Tensor:
        """r (N,) of the next ball, for iterates at `distance` (N,)."""
        geometry, nearest, loss = self.geometry, state["nearest"], output.loss.double()
        gamma = GAMMA_LAST + (self.gamma - GAMMA_LAST) / (1 + state["step"])
        ahead = distance + geometry.reach(state["x"], gradient, loss.clamp_min(0))
        behind = distance + loss.clamp_max(0) / geometry.dual(gradient).double().clamp_min(1e-30)
        # Both a little beyond the boundary: clipped to the box, a step to it may end just before it for ever.
        grown = torch.maximum(ahead * (1 + gamma), distance + geometry.grain).minimum(nearest - geometry.grain)
        shrunk = torch.maximum(behind * (1 + gamma), distance / 2).minimum(nearest * (1 - LEAST * gamma) - geometry.grain)
        return torch.where(output.success, shrunk, grown)

    def _leave_where_no_nearer(self, state: State, rows: Rows) -> None:
        """Set "done" where the nearest example came no nearer over the last third of the steps."""
        nearest = state["nearest"]
        gained = nearest < state["gained"] * (1 - self.tolerance)
        state["gained"] = torch.where(gained, nearest, state["gained"])
        state["gained_at"] = torch.where(gained, state["step"], state["gained_at"])
        still = (state["step"] >= SOONEST) & (2 * state["step"] >= 3 * state["gained_at"]) & nearest.isfinite()
        close = (nearest > rows.eps) & (nearest * (1 - CLOSE * self.tolerance) <= rows.eps)
        state["done"] = state["done"] | (still & ~close)
