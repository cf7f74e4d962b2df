"""Rotations and shifts. Engstrom, Tran, Tsipras, Schmidt, Madry (2019), Exploring the landscape of spatial robustness."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..norms.spatial import PADDINGS
from ..randomness import derive, fractions
from ..validation import check_choice, check_whole
from .core.base import Attack, Epsilon
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import shortfall

ANGLES, SHIFTS = 31, 5  # of the paper, which leaves the size as it is
SCALES = 3
BESIDE = 50  # points between those of the grid
FEW = 3  # points of a coarse grid along each axis
BETWEEN = 2  # what random numbers are for


@dataclass(frozen=True)
class Spatial(IterativeAttack):
    """Every rotation, shift and scale of a grid; the worst one is the result.

    The grid has `angles` rotations × `shifts` to the right × `shifts` down × `scales` sizes, evenly over ±ε of the full range
    (±30°, ±10 % of the side, ±10 % of the size). The points farthest out come first, and after all of
    them some between, drawn for each image. No gradient is needed: only predictions
    are asked for, and scores choose among those that fail or succeed alike. With `draws` points are drawn from the grid for
    each image in place of all ("worst of k").

    Source: Engstrom, Tran, Tsipras, Schmidt, Madry (2019), Exploring the landscape of spatial robustness, section 3.

    Args:
        eps: The budget, a number or one per image, up to 1: the share of the full range.
        angles: Rotations of the grid.
        shifts: Shifts of the grid in each direction.
        scales: Sizes of the grid; with 1 the size is left as it is, and the threat is not exhausted.
        draws: Points of the grid drawn for each image; 0 for the whole grid.
        between: Points drawn for each image from the whole range, asked after the grid, for a model may know the grid; none
            with `draws`.
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
    scales: int = SCALES
    draws: int = 0
    between: int = BESIDE
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
        self._put(check_whole, "between", low=0, of="points", hint="0 for none")
        check_choice("padding", self.padding, PADDINGS)

    @property
    def exhausts(self) -> bool:
        """Whether the grid is at least as fine as the paper's and varies the size; of a coarser one nobody would say that
        everything was tried."""
        fine = self.angles >= ANGLES and self.shifts >= SHIFTS and self.scales >= SCALES
        return fine and not self.draws and self.between >= BESIDE

    @property
    def steps(self) -> int:
        """Points after the first."""
        return (min(self.draws, len(self._grid)) or len(self._grid)) + self._beside - 1

    def redrawn(self) -> Attack:
        """With a coarse grid, for a finer one is the same for every seed; what lies between its points is drawn."""
        return replace(self, angles=min(self.angles, FEW), shifts=min(self.shifts, FEW)) if self._beside else self

    @property
    def _beside(self) -> int:
        """Points between those of the grid; none where a few of it are drawn."""
        return 0 if self.draws else self.between

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
        keys = keys.to(rows.images.device)
        state = {"asked": torch.zeros_like(keys), "between": self._drawn(keys)}
        if self.draws:
            state["order"] = fractions(keys, len(self._grid)).argsort(dim=1)[:, : self.draws]
        return state | self._rendered(state, rows)

    def _drawn(self, keys: Tensor) -> Tensor:
        """Points anywhere in the range, (N, between, 4) from −1 to 1; 0 along an axis of one point."""
        free = torch.tensor([count > 1 for count in (self.angles, self.shifts, self.shifts, self.scales)], device=keys.device)
        numbers = fractions(derive(keys, BETWEEN), self._beside * 4).reshape(len(keys), self._beside, 4)
        return (2 * numbers.double() - 1) * free

    def _rendered(self, state: State, rows: Rows) -> State:
        place, known = state["asked"], self.steps + 1 - self._beside
        at = place.clamp(max=known - 1)
        points = self._grid.to(place.device)[state["order"].gather(1, at[:, None]).flatten() if self.draws else at]
        if self._beside:
            number = (place - known).clamp(0, self._beside - 1)
            drawn = state["between"][torch.arange(len(place), device=place.device), number]
            points = torch.where((place < known)[:, None], points, drawn)
        made = self._parameters(points, rows.eps)
        return {"x": self.geometry.render(rows.images, made), "made_from": made}

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return shortfall(logits, labels, aims)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        state["asked"] = state["asked"] + 1
        state.update(self._rendered(state, rows))


@lru_cache(maxsize=8)
def grid(angles: int, shifts: int, scales: int) -> Tensor:
    """Every point of a grid, (G, 4) float64 from −1 to 1: angle, right, down, scale; those farthest out first."""
    points = torch.cartesian_prod(_even(angles), _even(shifts), _even(shifts), _even(scales))
    return points[points.abs().sum(1).argsort(descending=True, stable=True)]


def _even(count: int) -> Tensor:
    """So many numbers from −1 to 1, evenly; of one the middle."""
    return torch.linspace(-1, 1, count, dtype=torch.float64) if count > 1 else torch.zeros(1, dtype=torch.float64)
