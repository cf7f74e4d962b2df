"""FMN. Pintor, Roli, Brendel, Biggio (2021), Fast minimum-norm adversarial attacks through adaptive norm constraints,
algorithm 1."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import DEFAULT, per_image
from ..validation import check_real, check_whole
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.minimum_norm import MinimumNorm

GAMMA_LAST = 0.001  # γ_K


@dataclass(frozen=True)
class FMN(MinimumNorm):
    """The nearest adversarial example: normalized gradient steps in a ball whose radius follows the decision boundary.

    δ ← Π_r(δ − α·∇L/‖∇L‖₂), where L is the margin and Π_r projects on the ball of radius r. Until an iterate is adversarial r
    is the distance ‖δ‖ + |L|/‖∇L‖_q of the linearized boundary, times 1 + γ; then min(r·(1 − γ), ‖δ*‖) where the iterate is,
    with δ* the nearest found, and r·(1 + γ) where it is not any more. Step size α and γ fall along a cosine. In l1 and l0 Π_r
    projects on ball ∩ [0, 1] at once, and in l0, where the paper counts single color values and the norm here counts pixels, r
    changes by 1 at least.

    Source: Pintor, Roli, Brendel, Biggio (2021), Fast minimum-norm adversarial attacks, algorithm 1.

    Args:
        eps: Largest distance of interest, a fraction of the color range in l_inf, a length in l2 and l1, a count of pixels in
            l0; None for any (see MinimumNorm).
        norm: "linf", "l2", "l1" or "l0".
        steps: K, of the search.
        step_size: α₀, a length in l2 whatever the norm; it ends at α₀/100.
        gamma: γ₀, a share of the radius; it ends at 0.001.
        target: The class to reach; None for any misclassification.
        stop_within: Whether an image leaves at its first example within ε.
        give_up: How soon to leave an image on which success within ε is out of sight (see IterativeAttack); None spends all
            steps.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    norm: str = DEFAULT
    steps: int = 100
    step_size: float = 1.0
    gamma: float = 0.05
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
        self._put(check_real, "step_size", above=0, hint="such as 1.0, a length in l2")
        self._put(check_real, "gamma", above=0, below=1, hint="such as 0.05, a share of the radius")

    def start(self, rows: Rows, keys: Tensor) -> State:
        zero = torch.zeros_like(rows.eps)
        return self.fresh(rows) | {"radius": torch.full_like(zero, math.inf), "step": zero}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        decay = (1 + torch.cos(math.pi * state["step"] / self.steps)) / 2
        alpha = self.step_size * (0.01 + 0.99 * decay)
        gamma = GAMMA_LAST + (self.gamma - GAMMA_LAST) * decay
        distance, gradient = self.note(state, output, rows), output.needed_gradient()
        flat = gradient.flatten(1)
        # Where the boundary of a linear model would be.
        linear = distance + output.loss.abs() / self.geometry.dual(gradient).clamp_min(1e-30)
        # Both reach a little beyond: clipped to the box, a step to the boundary itself may end just before it for ever.
        grown, grain = torch.where(state["nearest"].isinf(), linear, state["radius"]), self.geometry.grain
        grown = torch.maximum(grown * (1 + gamma), grown + grain)
        shrunk = torch.minimum(state["radius"] * (1 - gamma), state["radius"] - grain).minimum(state["nearest"])
        state["radius"] = radius = torch.where(output.success, shrunk, grown)
        direction = gradient / per_image(flat.norm(dim=1).clamp_min(1e-30), rows.images).float()
        moved = state["x"] - per_image(alpha, rows.images).float() * direction
        if self.geometry.sparse:  # what the box cuts off a few values would be missing in the others
            state["x"] = self.geometry.project(moved, rows.images, radius)
        else:
            state["x"] = (rows.images + self.geometry.clip(moved - rows.images, radius)).clamp(0, 1)
        state["step"] = state["step"] + 1
