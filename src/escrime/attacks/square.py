"""Square Attack. Andriushchenko et al. (2020), Square Attack: a query-efficient black-box adversarial attack via random
search, algorithms 1 to 3."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..norms import DEFAULT, per_image
from ..randomness import derive, fractions
from ..validation import check_real
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.masks import bounding_boxes, inside_only
from .core.score_search import ScoreSearch

GRAY = 0.5  # in l_inf, how often all channels get one sign: their gradients point the same way more often than not
# After how many of 10 000 proposals the share p of changed pixels halves (the authors' code; the text leaves out 500).
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Square(ScoreSearch):
    """Random search with the model's scores alone: change one square at a time, keep it where the loss falls.

    In l_inf it starts from vertical stripes of x ± ε and sets squares to x ± ε, one sign per channel, in half of them one for
    all (the paper leaves that to chance); in l2 it starts from a grid of bumps η and moves the norm of one window into a bump
    in another: x ← x_new where L(x_new) < L(x), L the margin z_y − max_{i≠y} z_i. In l1 it is as in l2, with l1 norms and the
    projection on ball ∩ [0, 1]. Nothing is differentiated, so a model that hides its gradients hides nothing from it.

    Source: Andriushchenko, Croce, Flammarion, Hein (2020), Square Attack, algorithms 1 to 3, equation 2 for η; for l1 Croce and
    Hein (2021), Mind the box, section 5.

    Args:
        eps: The budget, a number, a text such as "8/255" or one number per image: a fraction of the color range in l_inf, a
            length in l2 and l1.
        queries: Of the model per image and restart, the start among them; each costs `eot` forward passes.
        norm: "linf", "l2" or "l1".
        restarts: Runs; one begins only where those before it failed.
        p_init: Share of the pixels that the first squares cover; it halves on a schedule scaled to `queries`.
        loss: "margin" (towards a class: the largest other logit − z_target), "ce" or "dlr".
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        give_up: How soon to leave an image on which success is out of sight (see IterativeAttack), against noise also where
            the average margin of the queries falls no more; None makes all queries.
        eot: Noise draws of a randomized model averaged for each query.

    Raises:
        EscrimeError: For a setting out of range, an unknown loss, a norm that has no proposals.
    """

    eps: Epsilon
    queries: int = 5000
    norm: str = DEFAULT
    restarts: int = 1
    p_init: float = 0.8
    loss: str = "margin"
    target: int | None = None
    early_stop: bool = True
    give_up: float | None = None
    eot: int = 1

    norms = ("linf", "l2", "l1")
    paper = (
        "Andriushchenko, Croce, Flammarion, Hein (2020), Square Attack: a query-efficient black-box adversarial attack "
        "via random search, arXiv:1912.00049"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in PROPOSALS:
            raise EscrimeError(f"Square has no proposals in {self.norm}; use one of {', '.join(PROPOSALS)}.")
        self._put(check_real, "p_init", above=0, high=1, hint="such as 0.8, a share of the pixels")

    def start(self, rows: Rows, keys: Tensor) -> State:
        keys = keys.to(rows.images.device)
        return {"x": PROPOSALS[self.norm].start(rows, keys), "key": keys, "proposals": torch.zeros_like(keys)}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        i, (height, width) = state["proposals"], rows.images.shape[2:]
        if rows.mask is None:
            sides = scheduled_sides(self.p_init, self.norm, height, width)
            side = _side_of_proposal(self.queries, sides, i.device)[i]
        else:  # of the mask's own size, as if the rectangle around it were the image
            sides = tuple(range(1, min(height, width) + 1))
            level = _side_of_proposal(self.queries, tuple(range(len(HALVINGS) + 1)), i.device)[i]
            own = _sides(self.p_init, self.norm, *bounding_boxes(rows.mask).T[2:].double())
            side = own.gather(1, level[:, None]).squeeze(1)
        keys = derive(state["key"], i)
        state["x"] = PROPOSALS[self.norm].change(rows, state["best"], side, keys, sides)
        state["proposals"] = i + 1


@lru_cache(maxsize=16)
def scheduled_sides(p_init: float, norm: str, height: int, width: int) -> tuple[int, ...]:
    """The side of the square, in pixels, before each of the halvings of p and after the last: √(p · height · width).

    It is at least 1 and fits into the image; in l2 it is odd and at least 3, so that a bump has a center.

    Args:
        p_init: The first p.
        norm: "linf", "l2" or "l1".
        height: Of the images.
        width: Of the images.

    Returns:
        The sides, one more than HALVINGS.
    """
    found = _sides(p_init, norm, *torch.tensor([[height], [width]], dtype=torch.float64))
    return tuple(found[0].tolist())


def _sides(p_init: float, norm: str, height: Tensor, width: Tensor) -> Tensor:
    """`scheduled_sides` of rectangles of as many sizes, float64 (N,) each; int64 (N, one more than HALVINGS)."""
    share = p_init / 2.0 ** torch.arange(len(HALVINGS) + 1, dtype=torch.float64, device=height.device)
    sides = (share * height[:, None] * width[:, None]).sqrt().round().long()
    if PROPOSALS[norm].centered:
        sides = sides.clamp_min(3) // 2 * 2 + 1
    return sides.clamp_min(1).minimum(torch.minimum(height, width).long()[:, None])


@lru_cache(maxsize=16)
def _side_of_proposal(queries: int, sides: tuple[int, ...], device: torch.device) -> Tensor:
    """The side of the square of every proposal, (queries,) int64; kept on the device, so that a step copies nothing there."""
    i = torch.arange(queries) * 10_000 // queries
    return torch.tensor(sides)[torch.bucketize(i, torch.tensor(HALVINGS))].to(device)


def _place(
    position: Tensor, side: Tensor, height: int, width: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Squares at positions (N, 2), fractions of where they fit into the image, or the rectangle around the `mask`: which pixels
    they cover (N, 1, H, W), and the rows (N, H) and columns (N, W) counted from their corner.

    Comparing coordinates lets every image have another position and side without a loop over the batch.
    """
    side = side[:, None]
    top, left, tall, wide = (0, 0, height, width) if mask is None else bounding_boxes(mask).T[:, :, None]
    down = torch.arange(height, device=side.device) - top - (position[:, :1] * (tall - side + 1)).long()
    right = torch.arange(width, device=side.device) - left - (position[:, 1:] * (wide - side + 1)).long()
    within = [(line >= 0) & (line < side) for line in (down, right)]
    return within[0][:, None, :, None] & within[1][:, None, None, :], down, right


def _stripes(rows: Rows, keys: Tensor) -> Tensor:
    """The start in l_inf: x ± ε, the signs drawn for every column."""
    n, channels, _, width = rows.images.shape
    up = _signs(fractions(keys, (channels + 1) * width).reshape(n, channels + 1, 1, width))
    lower, upper = rows.bounds()
    return torch.where(up, upper, lower)


def _signs(numbers: Tensor) -> Tensor:
    """Which channels (N, C, H, W) go up, from random numbers (N, C + 1, H, W): each as it falls, or all as the first does."""
    up = numbers[:, 1:] < 0.5
    return torch.where(numbers[:, :1] < GRAY, up[:, :1], up)


def _paint(rows: Rows, best: Tensor, side: Tensor, keys: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Algorithm 2: one square of `best` becomes x ± ε."""
    n, channels, height, width = best.shape
    numbers = fractions(keys, channels + 3)
    square, _, _ = _place(numbers[:, :2], side, height, width, rows.mask)
    up = _signs(numbers[:, 2:].reshape(n, channels + 1, 1, 1))
    lower, upper = rows.bounds()
    return torch.where(square, torch.where(up, upper, lower), best)


def _half_bump(height: int, width: int) -> Tensor:
    """η of equation 2, (height, width): a pixel in ring d around the center has Σ 1/(j + 1)² over j = d … n."""
    n = max(height, width) // 2
    row, column = ((torch.arange(size) - size // 2).abs() for size in (height, width))
    weights = 1 / torch.arange(1, n + 2, dtype=torch.float64).square()
    eta: Tensor = weights.flip(0).cumsum(0).flip(0)[torch.maximum(row[:, None], column)]
    return eta


def bump(side: int) -> Tensor:
    """η* of the paper, (side, side): one half rises and the other falls, with l2 norm 1."""
    eta = torch.cat([_half_bump(side // 2, side), -_half_bump(side - side // 2, side)])
    unit: Tensor = eta / eta.norm()
    return unit.float()


@lru_cache(maxsize=16)
def _all_bumps(sides: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The bumps of all sides, flattened, one after another and after a zero; and at which entry that of each side begins."""
    values, begins, length = [torch.zeros(1, dtype=torch.float32)], torch.zeros(max(sides) + 1, dtype=torch.int64), 1
    for side in sorted(set(sides)):
        values.append(bump(side).flatten())
        begins[side] = length
        length += side * side
    return torch.cat(values).to(device), begins.to(device)


def _tiles(rows: Rows, keys: Tensor) -> Tensor:
    """The start in l2 and l1: a grid of bumps a fifth of the image wide, turned or not, the sign drawn for every channel."""
    n, channels, height, width = rows.images.shape
    side = max(min(height, width) // 5, 1)
    grid = (height // side, width // side)
    numbers = fractions(keys, (channels + 1) * grid[0] * grid[1]).reshape(n, channels + 1, *grid)
    numbers = numbers.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    eta = bump(side).to(keys.device)
    eta = torch.where(numbers[:, :1] < 0.5, eta.repeat(grid), eta.T.repeat(grid))
    delta = torch.zeros_like(rows.images)
    top, left = ((size - tiles * side) // 2 for size, tiles in zip((height, width), grid))
    delta[:, :, top : top + eta.shape[2], left : left + eta.shape[3]] = eta * (2 * (numbers[:, 1:] < 0.5) - 1)
    return _at_radius(rows, delta)


def _windows(rows: Rows, side: Tensor, keys: Tensor, sides: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Two windows of one side: a mask (N, 1, H, W) of the first, one of both, and the bump of the first (N, C, H, W), turned or
    not, the sign drawn for every channel."""
    _, channels, height, width = rows.images.shape
    numbers = fractions(keys, channels + 5)
    window, down, right = _place(numbers[:, :2], side, height, width, rows.mask)
    both = window | _place(numbers[:, 2:4], side, height, width, rows.mask)[0]
    values, begins = _all_bumps(sides, side.device)
    turned = numbers[:, 4:5] < 0.5
    row, column = down * torch.where(turned, 1, side[:, None]), right * torch.where(turned, side[:, None], 1)
    entry = begins[side][:, None, None] + row[:, :, None] + column[:, None, :]
    eta = values[torch.where(window[:, 0], entry, 0)][:, None]
    return window, both, (2 * (numbers[:, 5:, None, None] < 0.5) - 1) * eta


def _move(rows: Rows, best: Tensor, side: Tensor, keys: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Algorithm 3: a bump is added to window 1, which takes over the norm of window 2 and what is left of ε."""
    window, both, eta = _windows(rows, side, keys, sides)
    delta = best - rows.images
    squares = delta.square()

    def norm2(values: Tensor) -> Tensor:
        return values.sum((2, 3), keepdim=True)

    unused = (_radius(rows).square() - squares.sum((1, 2, 3), keepdim=True)).clamp_min(0)
    available = norm2(squares * both) + unused / best.shape[1]  # (ε_avail)² of every channel
    new = eta + delta * window / norm2(squares * window).sqrt().clamp_min(1e-12)
    new = new * (available / norm2(new.square()).clamp_min(1e-30)).sqrt()
    return _at_radius(rows, torch.where(both, new, delta))


def _move_l1(rows: Rows, best: Tensor, side: Tensor, keys: Tensor, sides: tuple[int, ...]) -> Tensor:
    """The same with l1 norms, so that what window 1 takes over is a sum of changes."""
    window, both, eta = _windows(rows, side, keys, sides)
    delta = best - rows.images

    def norm1(values: Tensor) -> Tensor:
        return values.abs().sum((2, 3), keepdim=True)

    unused = (per_image(rows.eps, delta).float() - norm1(delta).sum(1, keepdim=True)).clamp_min(0)
    available = norm1(delta * both) + unused / best.shape[1]
    new = eta / norm1(eta).clamp_min(1e-12) + delta * window / norm1(delta * window).clamp_min(1e-12)
    new = new * (available / norm1(new).clamp_min(1e-30))
    return _at_radius(rows, torch.where(both, new, delta))


def _radius(rows: Rows) -> Tensor:
    """The largest norm (N, 1, 1, 1) that float32 arithmetic cannot move beyond ε: the sum x + δ, below 1, is rounded by at
    most 2⁻²⁵ per pixel. Keeping it spares the search a projection that would wait for the device at every step."""
    pixels = rows.images[0].numel()
    return (per_image(rows.eps, rows.images) * (1 - 1e-5) - 2**-25 * math.sqrt(pixels)).clamp_min(0).float()


def _at_radius(rows: Rows, delta: Tensor) -> Tensor:
    """x + δ with δ (N, C, H, W), as far as it may change a pixel, scaled to the norm ε, in the box."""
    delta = inside_only(delta, rows.mask)
    if rows.geometry.sparse:
        size = delta.abs().sum((1, 2, 3), keepdim=True)
        return rows.project(rows.images + delta * (per_image(rows.eps, delta).float() / size.clamp_min(1e-30)))
    size = delta.square().sum((1, 2, 3), keepdim=True).sqrt()
    return (rows.images + delta * (_radius(rows) / size.clamp_min(1e-30))).clamp(0, 1)


class Proposals(NamedTuple):
    """How the search starts and what it tries in one norm.

    Args:
        start: (rows, keys) → x (N, C, H, W).
        change: (rows, the accepted points, side of the square (N,), keys, all sides there will be) → x.
        centered: Whether the square needs a pixel in its middle.
    """

    start: Callable[[Rows, Tensor], Tensor]
    change: Callable[[Rows, Tensor, Tensor, Tensor, tuple[int, ...]], Tensor]
    centered: bool


PROPOSALS = {
    "linf": Proposals(_stripes, _paint, centered=False),
    "l2": Proposals(_tiles, _move, centered=True),
    "l1": Proposals(_tiles, _move_l1, centered=True),
}
