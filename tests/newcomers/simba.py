"""SimBA. Guo, Gardner, You, Wilson, Weinberger (2019), Simple black-box adversarial attacks, algorithm 1, in pixel space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import per_image
from ..randomness import derive, fractions
from ..validation import check_whole
from .core.base import Epsilon
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import shortfall


@dataclass(frozen=True)
class SimBA(IterativeAttack):
    """One color value at a time, drawn at random, moves to x ± ε, and stays where the scores get worse for the label.

    Args:
        eps: The budget in l_inf, a fraction of the color range.
        queries: Of the model per image, the image itself among them.
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        eot: Noise draws of a randomized model averaged for each query.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon
    queries: int = 1000
    target: int | None = None
    early_stop: bool = True
    eot: int = 1

    norms = ("linf",)
    access = "scores"
    paper = "Guo, Gardner, You, Wilson, Weinberger (2019), Simple black-box adversarial attacks, arXiv:1905.07121"
    keep_best = True  # the point that the search has accepted is state["best"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "queries", hint="such as 1000")

    @property
    def steps(self) -> int:
        return self.queries - 1

    def start(self, rows: Rows, keys: Tensor) -> State:
        keys = keys.to(rows.images.device)
        return {"x": rows.images, "key": keys, "taken": torch.zeros_like(keys)}

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return shortfall(logits, labels, aims)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        drawn = fractions(derive(state["key"], state["taken"]), 2)
        place = (drawn[:, :1] * rows.images[0].numel()).long()
        sign = 2 * (drawn[:, 1:] < 0.5).to(rows.images) - 1
        step = torch.zeros_like(rows.images).flatten(1).scatter(1, place, sign).view_as(rows.images)
        moved = rows.images + per_image(rows.eps, rows.images).float() * step
        state["x"] = torch.where(step != 0, rows.project(moved), state["best"])
        state["taken"] = state["taken"] + 1
