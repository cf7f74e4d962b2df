"""Sparse-RS. Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS: a versatile framework for query-efficient sparse
black-box adversarial attacks, algorithm 1 and section 4."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..randomness import derive, fractions
from ..validation import check_real
from .core.base import Epsilon
from .core.iterative import Output, Rows, State
from .core.score_search import ScoreSearch

# After how many of 10 000 proposals the share of exchanged pixels is alpha over so much (the authors' code).
SCHEDULE = {0: 2, 50: 4, 200: 5, 500: 6, 1000: 8, 2000: 10, 4000: 12, 6000: 15, 8000: 20}
PLACES, COLORS = 1, 2  # what random numbers are for


@dataclass(frozen=True)
class SparseRS(ScoreSearch):
    """Random search over sets of ε pixels and their colors with the model's scores alone.

    It starts from ε random pixels, each a random corner of the color cube. A proposal puts a share α of them back and takes as
    many others, with new corners: x ← x_new where L(x_new) < L(x), L the margin. α falls on a schedule. Nothing is
    differentiated, so a model that hides its gradients hides nothing from it.

    Source: Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS, algorithm 1.

    Args:
        eps: The budget, a number of pixels or one per image.
        queries: Of the model per image and restart, the start among them; each costs `eot` forward passes.
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
    restarts: int = 1
    alpha: float = 0.3
    loss: str = "margin"
    target: int | None = None
    early_stop: bool = True
    give_up: float | None = None
    eot: int = 1

    norms = ("l0",)
    paper = (
        "Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS: a versatile framework for query-efficient sparse "
        "black-box adversarial attacks, arXiv:2006.12834"
    )
    norm = "l0"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_real, "alpha", above=0, high=1, hint="such as 0.3, a share of the changed pixels")

    def start(self, rows: Rows, keys: Tensor) -> State:
        keys = keys.to(rows.images.device)
        none = torch.zeros_like(keys)
        return {"x": self._exchanged(rows, rows.images, none, keys), "key": keys, "proposals": none}

    def step(self, state: State, output: Output, rows: Rows) -> None:
        i, keys = state["proposals"], derive(state["key"], state["proposals"])
        state["proposals"] = i + 1
        begins, parts = (torch.tensor(list(column), device=i.device) for column in (SCHEDULE, SCHEDULE.values()))
        share = self.alpha / parts[torch.bucketize((i + 1) * 10_000 // self.queries, begins, right=False).clamp_min(1) - 1]
        state["x"] = self._exchanged(rows, state["best"], (share * rows.eps).long().clamp_min(1), keys)

    def _exchanged(self, rows: Rows, best: Tensor, leaving: Tensor, keys: Tensor) -> Tensor:
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
