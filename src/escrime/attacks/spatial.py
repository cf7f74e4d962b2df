"""Rotations and shifts. Engstrom, Tran, Tsipras, Schmidt, Madry (2019), Exploring the landscape of spatial robustness."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..models.fast.twin import Twin
from ..models.running import Classifier
from ..norms.spatial import PADDINGS
from ..randomness import fractions
from ..validation import check_choice, check_whole
from .core.base import Epsilon, Outcome
from .core.gradients import loss_only
from .core.inputs import Inputs
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import shortfall

ANGLES, SHIFTS = 31, 5  # of the paper
AT_ONCE = 64  # renderings that are compared with a result


@dataclass(frozen=True)
class Spatial(IterativeAttack):
    """Every rotation, shift and scale of a grid; the worst one is the result.

    The grid has `angles` rotations × `shifts` to the right × `shifts` down × `scales` sizes, evenly over ±ε of the full range
    (±30°, ±10 % of the side, ±10 % of the size). The points farthest out come first. No gradient is needed: only predictions
    are asked for, and scores choose among those that fail or succeed alike. With `draws` points are drawn from the grid for
    each image in place of all ("worst of k").

    Source: Engstrom, Tran, Tsipras, Schmidt, Madry (2019), Exploring the landscape of spatial robustness, section 3.

    Args:
        eps: The budget, a number or one per image, up to 1: the share of the full range.
        angles: Rotations of the grid.
        shifts: Shifts of the grid in each direction.
        scales: Sizes of the grid.
        draws: Points drawn for each image; 0 for the whole grid.
        padding: What lies around an image: "zeros" (black), "border" or "reflection".
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        eot: Noise draws of a randomized model averaged for each point.

    Raises:
        EscrimeError: For a setting out of range, and an unknown padding.
    """

    eps: Epsilon
    angles: int = ANGLES
    shifts: int = SHIFTS
    scales: int = 1
    draws: int = 0
    padding: str = "zeros"
    target: int | None = None
    early_stop: bool = True
    eot: int = 1

    norms = ("spatial",)
    access = "labels"
    paper = "Engstrom, Tran, Tsipras, Schmidt, Madry (2019), Exploring the landscape of spatial robustness, arXiv:1712.02779"
    norm = "spatial"
    keep_best = True
    confirms = False  # the model is asked about each point once

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("angles", "shifts", "scales"):
            self._put(check_whole, name, of="points", hint="an odd number, so that the middle is one of them")
        self._put(check_whole, "draws", low=0, of="points", hint="0 for all")
        check_choice("padding", self.padding, PADDINGS)

    @property
    def exhausts(self) -> bool:
        """Whether the grid is at least as fine as the paper's; of a coarser one nobody would say that everything was tried."""
        return not self.draws and self.angles >= ANGLES and self.shifts >= SHIFTS

    @property
    def steps(self) -> int:
        """Points after the first."""
        return (min(self.draws, len(self._grid)) or len(self._grid)) - 1

    @property
    def queries(self) -> int:
        return self.steps + 1

    @property
    def _grid(self) -> Tensor:
        return grid(self.angles, self.shifts, self.scales)

    def _parameters(self, points: Tensor, eps: Tensor) -> Tensor:
        """θ (N, 5) of points (N, 4) of the grid at ε (N,)."""
        moved = points * eps[:, None].double()
        return torch.cat([moved, torch.full_like(moved[:, :1], PADDINGS.index(self.padding))], dim=1)

    def start(self, rows: Rows, keys: Tensor) -> State:
        device = rows.images.device
        state = {"asked": torch.zeros(len(keys), dtype=torch.int64, device=device)}
        if self.draws:
            state["order"] = fractions(keys.to(device), len(self._grid)).argsort(dim=1)[:, : self.draws]
        return state | {"x": self._rendered(state, rows)}

    def _rendered(self, state: State, rows: Rows) -> Tensor:
        place = state["asked"].clamp(max=self.steps)
        if self.draws:
            place = state["order"].gather(1, place[:, None]).flatten()
        points = self._grid.to(rows.images.device)[place]
        return self.geometry.render(rows.images, self._parameters(points, rows.eps))

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return shortfall(logits, labels, aims)

    def ask(self, model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        return Output(*loss_only(model, x, loss, keys, self.eot), gradient=None)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        state["asked"] = state["asked"] + 1
        state["x"] = self._rendered(state, rows)

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        found = super()._sweep(twin, inputs, budgets, wanted)
        return [
            replace(
                outcome,
                parameters=torch.stack([self._made_from(*each) for each in zip(outcome.adversarial, inputs.images, eps)]),
            )
            for outcome, eps in zip(found, budgets, strict=True)
        ]

    def _made_from(self, adversarial: Tensor, image: Tensor, eps: Tensor) -> Tensor:
        """θ (5,) of the point of the grid at ε that makes `adversarial` of an image, both (C, H, W); NaN for itself."""
        nothing = torch.full((5,), float("nan"), dtype=torch.float64)
        if torch.equal(adversarial, image):
            return nothing
        for points in self._grid.split(AT_ONCE):
            made = self._parameters(points, eps.expand(len(points)))
            same = self.geometry.render(image.expand(len(points), -1, -1, -1), made) == adversarial
            if (right := same.flatten(1).all(1)).any():
                return made[right.nonzero()[0, 0]]
        return nothing


@lru_cache(maxsize=8)
def grid(angles: int, shifts: int, scales: int) -> Tensor:
    """Every point of a grid, (G, 4) float64 from −1 to 1: angle, right, down, scale; those farthest out first."""
    points = torch.cartesian_prod(_even(angles), _even(shifts), _even(shifts), _even(scales))
    return points[points.abs().sum(1).argsort(descending=True, stable=True)]


def _even(count: int) -> Tensor:
    """So many numbers from −1 to 1, evenly; of one the middle."""
    return torch.linspace(-1, 1, count, dtype=torch.float64) if count > 1 else torch.zeros(1, dtype=torch.float64)
