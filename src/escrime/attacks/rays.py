"""RayS. Chen and Gu (2020), RayS: a ray searching method for hard-label adversarial attack, algorithms 2 and 3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import per_image
from ..validation import check_real, check_whole
from .core.base import Epsilon
from .core.iterative import Output, Rows, State, wide
from .core.minimum_norm import MinimumNorm

IMAGE = -2  # in place of a block: queried is the image itself; the next one, -1, is the first direction with nothing flipped
FARTHEST = 1.0  # from here on every pixel is at its bound


@dataclass(frozen=True)
class RayS(MinimumNorm):
    """The model's decisions alone: which of the directions {−1, 1}ⁿ meets the boundary first, and where.

    min over d ∈ {−1, 1}ⁿ of g(d) = min{r : x + r·d is adversarial}. From the direction of all ones, the sign of one block of
    pixels is flipped: halves, quarters, and so on down to single pixels. A flip is kept where the image is still adversarial at
    the distance known so far; the distance is then searched by halving. Neither gradients nor scores are used, so a model that
    returns labels only can be attacked.

    Source: Chen and Gu (2020), RayS, algorithms 2 and 3.

    Args:
        eps: Largest distance of interest in l_inf, a fraction of the color range; None for any (see MinimumNorm).
        queries: Of the model per image, each `eot` forward passes.
        tolerance: How well a distance is known before the next flip, a fraction of the color range.
        target: The class to reach; None for any misclassification.
        stop_within: Whether an image leaves at its first example within ε.
        eot: Noise draws of a randomized model averaged for each query.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    queries: int = 5000
    tolerance: float = 1e-3
    target: int | None = None
    stop_within: bool = False
    eot: int = 1

    norms = ("linf",)
    access = "labels"
    paper = "Chen and Gu (2020), RayS: a ray searching method for hard-label adversarial attack, arXiv:2006.12792"
    usual = {"queries": 2000, "stop_within": True}
    norm = "linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "queries", hint="such as 5000")
        self._put(check_real, "tolerance", above=0, below=1, hint="such as 0.001")

    @property
    def steps(self) -> int:
        return self.queries - 1

    def start(self, rows: Rows, keys: Tensor) -> State:
        zero, none = torch.zeros_like(rows.eps), torch.zeros_like(rows.labels)
        return self.fresh(rows) | {
            "sign": torch.ones_like(rows.images),
            "radius": torch.full_like(zero, FARTHEST),  # known distance of the best direction, or how far to look
            "low": zero,
            "high": zero,
            "searching": zero > 0,
            "level": none,
            "block": none + IMAGE,
        }

    def step(self, state: State, output: Output, rows: Rows) -> None:
        self.note(state, output, rows)
        won, was = output.success, state["searching"]
        begins = won & ~was & (state["block"] != IMAGE)
        state["sign"] = torch.where(wide(begins), self._flipped(state, rows), state["sign"])
        middle = (state["low"] + state["high"]) / 2
        state["low"] = torch.where(begins, 0, torch.where(was & ~won, middle, state["low"]))
        state["high"] = torch.where(begins, state["radius"], torch.where(was & won, middle, state["high"]))
        searching = was | begins
        state["radius"] = torch.where(searching, state["high"], state["radius"])
        found = searching & (state["high"] - state["low"] <= self.tolerance)
        state["searching"] = searching & ~found
        self._next_block(state, ~searching | found, rows)
        far = torch.where(state["searching"], (state["low"] + state["high"]) / 2, state["radius"])
        sign = torch.where(wide(state["searching"]), state["sign"], self._flipped(state, rows))
        state["x"] = (rows.images + per_image(far, rows.images).float() * sign).clamp(0, 1)

    def _next_block(self, state: State, moves: Tensor, rows: Rows) -> None:
        """Where the job `moves` (N,), the next block, of the next level after the last one, of level 0 after single pixels."""
        block, pixels = state["block"] + moves, rows.values.long()
        over = block * _size(state["level"], pixels) >= pixels
        state["block"] = torch.where(over, 0, block)
        level = state["level"] + over
        state["level"] = torch.where(2**level > 2 * pixels, 0, level)

    def _flipped(self, state: State, rows: Rows) -> Tensor:
        """The best direction with the sign of the present block turned."""
        sign = state["sign"].flatten(1)
        size = _size(state["level"], rows.values.long())
        return torch.where(_order(rows) // size[:, None] == state["block"][:, None], -sign, sign).view_as(state["sign"])


def _order(rows: Rows) -> Tensor:
    """The place of every value among those of its image that may change, (N, D) or of all images (D,); a value that stays has
    that of one before it."""
    if rows.mask is None:
        return torch.arange(rows.images[0].numel(), device=rows.images.device)
    return rows.mask.expand_as(rows.images).flatten(1).cumsum(1) - 1


def _size(level: Tensor, pixels: Tensor) -> Tensor:
    """Pixels per block (N,) where the image is cut into 2^level blocks."""
    return (pixels + 2**level - 1) // 2**level
