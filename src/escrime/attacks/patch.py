"""Adversarial patches, one for each image. Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch; here per image, the place
chosen too, with the steps of PGD."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import per_image
from ..norms.patch import window_at, window_sums
from ..randomness import derive, fractions
from ..validation import check_whole
from .core.base import Epsilon
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import LOSSES, check_loss
from .core.starts import random_start

NEAR = 0.5  # how far below the most that a window gains, as a share of it, another one may be chosen
PLACES = 1  # what random numbers are for


@dataclass(frozen=True)
class Patch(IterativeAttack):
    """A square of any colors at the place where it does most: the window is chosen first, then its colors by gradient steps.

    The place of the first run is the window W with the largest Σ_{p ∈ W} max_c |g|·(room of the color), the most that a linear
    model with the gradient g at the image would lose; there its colors go to the ends of the color range at once. Further runs
    take the gradient at a random patch: every second one then the window that gains most or nearly so, the others any. Then
    x ← Π_W(x − a·sign ∇L) within the window, where a falls from the whole color range to 0 along half a cosine.

    Source: Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch, for patches; of escrime's own: the choice of the place.

    Args:
        eps: The side of the patch in pixels, a whole number or one per image.
        steps: Gradient steps, that which chooses the place among them.
        restarts: Places; one begins only where those before it failed.
        loss: "ce", "margin" or "dlr".
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range, and an unknown loss.
    """

    eps: Epsilon
    steps: int = 40
    restarts: int = 10
    loss: str = "margin"
    target: int | None = None
    early_stop: bool = True
    eot: int = 1

    norms = ("patch",)
    access = "gradients"
    paper = "Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch, arXiv:1712.09665"
    keep_best = True
    norm = "patch"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        self._put(check_whole, "steps", hint="such as 40")
        self._put(check_whole, "restarts", hint="the first place counted too")

    def start(self, rows: Rows, keys: Tensor) -> State:
        nowhere = torch.zeros_like(rows.images[:, :1], dtype=torch.bool)
        x = rows.images
        if rows.restart is not None and (rows.restart > 0).any():
            x = random_start(rows, keys).where((rows.restart > 0)[:, None, None, None], x)
        return {"x": x, "key": keys.to(rows.images.device), "taken": torch.zeros_like(rows.eps), "window": nowhere}

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return LOSSES[self.loss](logits, labels, aims)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        slope, x, first = -output.needed_gradient(), state["x"], (state["taken"] == 0)[:, None, None, None]
        if first.any():
            room = (1 - rows.images).where(slope > 0, rows.images)
            state["window"] = self._place((slope.abs() * room).sum(1), state["key"], rows).where(first, state["window"])
        size = per_image((1 + torch.cos(math.pi * state["taken"] / self.steps)) / 2, x).float()
        moved = (x + size * slope.sign()).clamp(0, 1)
        state["x"] = moved.where(state["window"], rows.images)
        state["taken"] = state["taken"] + 1

    def _place(self, gain: Tensor, keys: Tensor, rows: Rows) -> Tensor:
        """Windows (N, 1, H, W), by what each pixel gains (N, H, W)."""
        count, restart = per_image(rows.eps, rows.images), rows.restart
        if restart is None:
            raise RuntimeError("which run it is chooses its place")
        sums = window_sums(gain, count)
        drawn = fractions(derive(keys, PLACES), gain[0].numel()).double().view_as(gain)
        best = sums.flatten(1).amax(1)[:, None, None].clamp_min(1e-30)
        near, any_one = sums / best + NEAR * drawn, drawn.where(sums.isfinite(), -torch.inf)
        if rows.mask is not None:
            any_one = any_one.where(window_sums(rows.mask[:, 0].double(), count) > 0, -torch.inf)
        number = restart[:, None, None]
        score = torch.where(number == 0, sums, torch.where(number % 2 == 1, near, any_one))
        return window_at(score.flatten(1).argmax(1), gain, count)
