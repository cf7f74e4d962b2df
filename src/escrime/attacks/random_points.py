"""Random points of the ball, the least an attack must beat. Carlini et al. (2019), On evaluating adversarial robustness,
section 4.2."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..norms import per_image
from ..randomness import derive, fractions
from .core.gradients import loss_only
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import shortfall
from .core.steps import random_start


@dataclass(frozen=True)
class RandomPoints(IterativeAttack):
    """`draws` independent points of the ball, in l_inf about half of them corners x ± ε; the best one is the answer.

    eps, norm: the budget. draws: points asked about, each for `eot` forward passes and no gradient. target: class to
    reach. early_stop: leave an image at its first success.
    """

    eps: float | str
    draws: int = 1000
    norm: str = "linf"
    target: int | None = None
    early_stop: bool = True
    eot: int = 1

    norms = ("linf", "l2")
    access = "labels"
    paper = "Carlini et al. (2019), On evaluating adversarial robustness, section 4.2, arXiv:1902.06705"
    keep_best = True
    confirms = False  # each point is asked about once
    steps = 0  # a point is a start, and the next one is another run
    concurrent = 16

    def __post_init__(self):
        super().__post_init__()
        if self.draws < 1:
            raise EscrimeError(f"draws = {self.draws!r}: give a whole number of points from 1, such as 1000.")

    @property
    def runs(self) -> int:
        return self.draws

    def start(self, rows: Rows, keys: Tensor) -> State:
        x = random_start(rows, keys)
        if self.geometry.polytope:
            keys = keys.to(x.device)
            corner = fractions(derive(keys, 1), 1).reshape(-1, 1, 1, 1) < 0.5
            outwards = per_image(rows.eps, x).float() * self.geometry.steepest(x - rows.images)
            x = torch.where(corner, rows.project(rows.images + outwards), x)
        return {"x": x}

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return shortfall(logits, labels, aims)

    def ask(self, model, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        return Output(*loss_only(model, x, loss, keys, self.eot), gradient=None)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        """Each point is asked about once."""
