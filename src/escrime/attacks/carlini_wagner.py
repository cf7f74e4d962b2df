"""Carlini–Wagner, l2. Carlini and Wagner (2017), Towards evaluating the robustness of neural networks, sections V and VI."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import per_image
from ..validation import check_real, check_whole
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.losses import shortfall
from .core.minimum_norm import MinimumNorm

BETA1, BETA2 = 0.9, 0.999  # of Adam
INSIDE = 1 - 1e-6  # how close to the box's faces w starts: at the faces themselves it would be infinite


@dataclass(frozen=True)
class CarliniWagner(MinimumNorm):
    """Minimize ‖x' − x‖₂² + c·max(f(x'), −κ), x' = ½(tanh w + 1), by Adam on w; c is searched per image.

    f(x') = z_y − max_{i≠y} z_i, or towards a class max_{i≠t} z_i − z_t. A round that found an example lowers c to halfway, one
    that did not raises it, tenfold while no upper bound is known.

    Source: Carlini and Wagner (2017), Towards evaluating the robustness of neural networks, sections V and VI-A (the l2
    attack).

    Args:
        eps: Largest distance of interest, a length in l2; None for any (see MinimumNorm).
        steps: Of a round, at most: a round ends early where the objective of its image has not improved for a tenth of them.
        rounds: Of the search for c.
        step_size: Adam's, in units of w.
        initial_c: c of the first round.
        confidence: κ, by how much the logits of an example should differ.
        target: The class to reach; None for any misclassification.
        stop_within: Whether an image leaves at its first example within ε.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    steps: int = 1000
    rounds: int = 9
    step_size: float = 0.01
    initial_c: float = 1e-3
    confidence: float = 0.0
    target: int | None = None
    stop_within: bool = False
    eot: int = 1

    norms = ("l2",)
    access = "gradients"
    paper = "Carlini and Wagner (2017), Towards evaluating the robustness of neural networks, arXiv:1608.04644"
    norm = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps", "rounds")
        self._put(check_real, "step_size", "initial_c", above=0)
        self._put(check_real, "confidence", low=0, hint="0 for any misclassification")

    @property
    def queries(self) -> int:
        return self.rounds * (self.steps + 1)

    def succeeded(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        wrong = super().succeeded(logits, labels, targets)
        return wrong & (shortfall(logits, labels, targets) <= -self.confidence) if self.confidence else wrong

    def start(self, rows: Rows, keys: Tensor) -> State:
        zero = torch.zeros_like(rows.eps)
        return self.fresh(rows) | {
            "c": torch.full_like(zero, self.initial_c),
            "low": zero,
            "high": torch.full_like(zero, math.inf),
            "rounds": zero,
            **self._round(rows),
        }

    def _round(self, rows: Rows) -> State:
        """The state at the start of a round: w at the image, Adam's moments at zero."""
        zero, w = torch.zeros_like(rows.eps), torch.atanh((2 * rows.images.double() - 1) * INSIDE).float()
        moments = {name: torch.zeros_like(w) for name in ("mean", "square")}
        return {"w": w, **moments, "taken": zero, "found": zero > 0, "reference": torch.full_like(zero, math.inf)}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        distance = self.note(state, output, rows)
        loss = output.loss.double()
        state["found"] = state["found"] | output.success
        value = distance.square() + state["c"] * loss.clamp_min(-self.confidence)
        every = max(self.steps // 10, 1)
        due = state["taken"] % every == 0
        stalled = due & (value > 0.9999 * state["reference"])
        state["reference"] = torch.where(due, torch.minimum(state["reference"], value), state["reference"])
        over = stalled | (state["taken"] >= self.steps)

        active = per_image((loss > -self.confidence) * state["c"], rows.images).float()
        inner = 2 * (state["x"] - rows.images) + active * output.needed_gradient()
        tanh = torch.tanh(state["w"])
        gradient = inner * (1 - tanh.square()) / 2
        state["taken"] = t = state["taken"] + 1
        state["mean"] = BETA1 * state["mean"] + (1 - BETA1) * gradient
        state["square"] = BETA2 * state["square"] + (1 - BETA2) * gradient.square()
        # From a table: a vectorized power rounds differently at the end of a batch.
        bias = [
            torch.tensor([1 - beta**k for k in range(self.steps + 2)], device=t.device)[t.long()] for beta in (BETA1, BETA2)
        ]
        unbiased = [state[name] / per_image(b, gradient).float() for name, b in zip(("mean", "square"), bias)]
        state["w"] = state["w"] - self.step_size * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        state["x"] = ((torch.tanh(state["w"]) + 1) / 2).clamp(0, 1)
        self._next_round(state, over, rows)

    def _next_round(self, state: State, over: Tensor, rows: Rows) -> None:
        """Where the round is `over` (N,), choose the next c and start again at the image."""
        c = state["c"]
        state["rounds"] = state["rounds"] + over
        state["done"] = state["done"] | (state["rounds"] >= self.rounds)
        state["high"] = torch.where(over & state["found"], torch.minimum(state["high"], c), state["high"])
        state["low"] = torch.where(over & ~state["found"], torch.maximum(state["low"], c), state["low"])
        halfway = (state["low"] + state["high"]) / 2
        state["c"] = torch.where(over, torch.where(state["high"].isinf(), 10 * c, halfway), c)
        for name, value in (self._round(rows) | {"x": rows.images}).items():
            state[name] = torch.where(over.reshape(-1, *[1] * (value.dim() - 1)), value, state[name])
