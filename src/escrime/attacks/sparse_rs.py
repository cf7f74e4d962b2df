"""Sparse-RS. Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS: a versatile framework for query-efficient sparse
black-box adversarial attacks, algorithm 1 and section 4."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..randomness import derive, fractions
from ..validation import check_real
from . import sparse_rs_patch as patch
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.score_search import ScoreSearch

# After how many of 10 000 proposals the share of exchanged pixels is alpha over so much (the authors' code).
SCHEDULE = {0: 2, 50: 4, 200: 5, 500: 6, 1000: 8, 2000: 10, 4000: 12, 6000: 15, 8000: 20}
PLACES, COLORS = 1, 2  # what random numbers are for


@dataclass(frozen=True)
class SparseRS(ScoreSearch):
    """Random search over sets of ε pixels, or a patch of side ε, with the model's scores alone: which, and in what colors.

    It starts from ε random pixels, each a random corner of the color cube. A proposal puts a share α of them back and takes as
    many others, with new corners: x ← x_new where L(x_new) < L(x), L the margin. A proposal for a patch gives a square of a
    share α of it another corner, or, one in five and later in more, moves it. α falls on a schedule. Nothing is differentiated,
    so a model that hides its gradients hides nothing from it.

    Source: Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS, algorithm 1, and section 5.1 for patches; of
    escrime's own: the first proposals are fresh patches at other places, as the place decides most (on 8×8 digits a patch of 2
    pixels leaves 2 % right in place of 11 % after 500 queries).

    Args:
        eps: The budget, a number of pixels, or the side of the patch; or one per image.
        queries: Of the model per image and restart, the start among them; each costs `eot` forward passes.
        norm: "l0" or "patch".
        restarts: Runs; one begins only where those before it failed.
        alpha: The share of the pixels that the schedule starts from.
        loss: "margin" (towards a class: the largest other logit − z_target), "ce" or "dlr".
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        give_up: How soon to leave an image on which success is out of sight (see IterativeAttack), against noise also where
            the average margin of the queries falls no more; None makes all queries.
        eot: Noise draws of a randomized model averaged for each query.

    Raises:
        EscrimeError: For a setting out of range, and an unknown loss.
    """

    eps: Epsilon
    queries: int = 5000
    norm: str = "l0"
    restarts: int = 1
    alpha: float = 0.3
    loss: str = "margin"
    target: int | None = None
    early_stop: bool = True
    give_up: float | None = None
    eot: int = 1

    norms = ("l0", "patch")
    paper = (
        "Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS: a versatile framework for query-efficient sparse "
        "black-box adversarial attacks, arXiv:2006.12834"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in SEARCHES:
            raise EscrimeError(f"SparseRS has no proposals in {self.norm}; use one of {', '.join(SEARCHES)}.")
        self._put(check_real, "alpha", above=0, high=1, hint="such as 0.3, a share of the changed pixels")

    def start(self, rows: Rows, keys: Tensor) -> State:
        keys = keys.to(rows.images.device)
        return SEARCHES[self.norm].start(rows, keys) | {"key": keys, "proposals": torch.zeros_like(keys)}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        i, keys, search = state["proposals"], derive(state["key"], state["proposals"]), SEARCHES[self.norm]
        state["proposals"] = i + 1
        begins, parts = (torch.tensor(list(column), device=i.device) for column in (search.schedule, search.schedule.values()))
        share = self.alpha / parts[torch.bucketize((i + 1) * 10_000 // self.queries, begins, right=False).clamp_min(1) - 1]
        state["x"] = search.change(rows, state, share, keys, i + 1, self.queries)


def _pixels(rows: Rows, keys: Tensor) -> State:
    """The start in l0: ε random pixels."""
    return {"x": _exchanged(rows, rows.images, torch.zeros_like(keys), keys)}


def _others(rows: Rows, state: State, share: Tensor, keys: Tensor, proposals: Tensor, queries: int) -> Tensor:
    """Algorithm 1: the accepted point with a share of its pixels exchanged."""
    return _exchanged(rows, state["best"], (share * rows.eps).long().clamp_min(1), keys)


def _exchanged(rows: Rows, best: Tensor, leaving: Tensor, keys: Tensor) -> Tensor:
    """`best` (N, C, H, W) with `leaving` (N,) of its changed pixels put back, and others changed until they are ε."""
    n, channels, height, width = best.shape
    changed = (best != rows.images).any(1).flatten(1)
    order = 1 + fractions(derive(keys, PLACES), height * width)
    most = min(int(rows.eps.max()), height * width)
    back = _first(order * changed, leaving.minimum(changed.sum(1)), most)
    free = ~changed if rows.mask is None else ~changed & rows.mask.flatten(1)
    new = _first(order * free, rows.eps.long() - (changed & ~back).sum(1), most)
    corners = (fractions(derive(keys, COLORS), channels * height * width) < 0.5).float().view_as(best)
    kept = best.where(~back.view(n, 1, height, width), rows.images)
    return corners.where(new.view(n, 1, height, width), kept)


def _first(score: Tensor, count: Tensor, most: int) -> Tensor:
    """The `count` (N,) entries with the largest scores (N, P), none with a score of 0, and `most` at most; (N, P) bool."""
    top = score.topk(most, dim=1)
    taken = (torch.arange(most, device=score.device) < count[:, None]) & (top.values > 0)
    return torch.zeros_like(score, dtype=torch.bool).scatter(1, top.indices, taken)


class Search(NamedTuple):
    """How the search starts and what it tries in one norm.

    Args:
        start: (rows, keys) → the state, with x (N, C, H, W).
        change: (rows, state, α (N,), keys, proposals so far (N,), of how many) → x.
        schedule: After how many of 10 000 proposals α is divided by how much.
    """

    start: Callable[[Rows, Tensor], State]
    change: Callable[[Rows, State, Tensor, Tensor, Tensor, int], Tensor]
    schedule: dict[int, int]


SEARCHES = {"l0": Search(_pixels, _others, SCHEDULE), "patch": Search(patch.start, patch.change, patch.SCHEDULE)}
