"""sigma-zero. Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo (2024), sigma-zero: gradient-based optimization of l0-norm
adversarial examples, algorithm 1."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import per_image
from ..validation import check_real, check_whole
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.minimum_norm import MinimumNorm

BETAS = (0.9, 0.999)  # of Adam, which takes the steps in the authors' code
LEAST_STEP = 0.1  # of the first one, at the end of the cosine
PACE = 0.01  # t: how fast the threshold follows, of the step size


@dataclass(frozen=True)
class SigmaZero(MinimumNorm):
    """The fewest pixels: gradient steps on a smooth count of the changed ones, of which the small changes are then dropped.

    min over δ of max(L, 0) + Σ_p ‖δ_p‖²/(‖δ_p‖² + σ) / P over the P pixels p, L the margin. Each gradient is divided by its
    largest entry, Adam takes the step, and pixels that have changed by less than τ become those of the image; τ rises while the
    iterate is adversarial and falls while it is not. Step size and pace of τ fall along a cosine. The paper counts single color
    values, here a pixel counts once with all its channels, as the norm does: with one channel that is the same.

    Source: Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo (2024), sigma-zero, algorithm 1.

    Args:
        eps: Largest number of changed pixels of interest; None for any (see MinimumNorm).
        steps: Of the search.
        step_size: η₀, of Adam, in colors from 0 to 1; it ends at a tenth.
        sigma: σ, how sharply a pixel counts as changed.
        threshold: τ₀, in colors.
        target: The class to reach; None for any misclassification.
        stop_within: Whether an image leaves at its first example within ε.
        give_up: How soon to leave an image on which success within ε is out of sight (see IterativeAttack); None spends all
            steps.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    steps: int = 100
    step_size: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    target: int | None = None
    stop_within: bool = False
    give_up: float | None = None
    eot: int = 1

    norms = ("l0",)
    access = "gradients"
    paper = (
        "Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo (2024), sigma-zero: gradient-based optimization of l0-norm "
        "adversarial examples, arXiv:2402.01879"
    )
    norm = "l0"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps", hint="such as 100")
        self._put(check_real, "step_size", above=0, hint="such as 1.0, in colors from 0 to 1")
        self._put(check_real, "sigma", above=0, hint="such as 0.001")
        self._put(check_real, "threshold", low=0, high=1, hint="such as 0.3, in colors from 0 to 1")

    def start(self, rows: Rows, keys: Tensor) -> State:
        zero = torch.zeros_like(rows.eps)
        moments = {"mean": torch.zeros_like(rows.images), "square": torch.zeros_like(rows.images)}
        return self.fresh(rows) | moments | {"threshold": torch.full_like(zero, self.threshold), "step": zero}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        self.note(state, output, rows)
        won, delta = output.success, state["x"] - rows.images
        size = delta.square().sum(1, keepdim=True)
        count = 2 * delta * self.sigma / (size + self.sigma).square() / size[0].numel()  # gradient of the smooth count
        gradient = output.needed_gradient().where(~won[:, None, None, None], 0.0) + count
        gradient = gradient / gradient.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None]

        taken = state["step"] + 1
        state["mean"] = torch.lerp(gradient, state["mean"], BETAS[0])
        state["square"] = torch.lerp(gradient.square(), state["square"], BETAS[1])
        mean, square = (
            state[name] / per_image(1 - beta**taken, delta).float() for name, beta in zip(("mean", "square"), BETAS)
        )
        moved = delta - per_image(self._size(state["step"]), delta).float() * mean / (square.sqrt() + 1e-8)
        delta = (rows.images + moved).clamp(0, 1) - rows.images

        pace = PACE * self._size(taken)
        state["threshold"] = (state["threshold"] + torch.where(won, pace, -pace)).clamp(0, 1)
        kept = delta.abs().amax(1, keepdim=True) >= per_image(state["threshold"], delta)
        state["x"] = (rows.images + delta).clamp(0, 1).where(kept, rows.images)
        state["step"] = taken

    def _size(self, taken: Tensor) -> Tensor:
        """The step size after so many steps, (N,)."""
        decay = (1 + torch.cos(math.pi * taken / self.steps)) / 2
        return self.step_size * (LEAST_STEP + (1 - LEAST_STEP) * decay)
