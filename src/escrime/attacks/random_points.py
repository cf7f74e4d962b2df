"""Random points of the ball, the least an attack must beat. Carlini et al. (2019), On evaluating adversarial robustness,
section 4.2."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import DEFAULT, per_image
from ..randomness import derive, fractions
from ..validation import check_whole
from .core.base import Epsilon
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import shortfall
from .core.starts import random_start


@dataclass(frozen=True)
class RandomPoints(IterativeAttack):
    """`draws` independent points of the ball, in l_inf about half of them corners x ± ε; the best one is the result.

    x' = Π(x + δ), δ uniform in the ε-ball, or where the norm's ball has corners for every other point δ = ε·sign δ. The best is
    the one with the least margin. No gradient is needed.

    Source: Carlini et al. (2019), On evaluating adversarial robustness, section 4.2.

    Args:
        eps: The budget, a number, a text such as "8/255" or one number per image: a fraction of the color range in l_inf, a
            length in l2 and l1, a count of pixels in l0, the side of a patch.
        draws: Points the model is queried about, each for `eot` forward passes.
        norm: "linf", "l2", "l1", "l0" or "patch".
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        eot: Noise draws of a randomized model averaged for each point.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon
    draws: int = 1000
    norm: str = DEFAULT
    target: int | None = None
    early_stop: bool = True
    eot: int = 1

    norms = ("linf", "l2", "l1", "l0", "patch")
    access = "labels"
    paper = "Carlini et al. (2019), On evaluating adversarial robustness, section 4.2, arXiv:1902.06705"
    keep_best = True
    confirms = False  # the model is queried about each point once
    steps = 0  # a point is a start, and the next one is another run
    concurrent = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "draws", of="points", hint="such as 1000")

    @property
    def runs(self) -> int:
        return self.draws

    def start(self, rows: Rows, keys: Tensor) -> State:
        x = random_start(rows, keys)
        if self.geometry.polytope:
            keys = keys.to(x.device)
            corner = fractions(derive(keys, 1), 1).reshape(-1, 1, 1, 1) < 0.5
            outwards = self.geometry.climb(rows.images, x - rows.images, per_image(rows.eps, x).float())
            x = torch.where(corner, rows.project(outwards), x)
        return {"x": x}

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return shortfall(logits, labels, aims)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        """None: the model is queried about each point once."""
