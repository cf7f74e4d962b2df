"""HopSkipJump. Chen, Jordan, Wainwright (2020), HopSkipJumpAttack: a query-efficient decision-based attack, algorithm 2."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import per_image
from ..randomness import derive, uniform_noise
from ..validation import check_whole
from .core.base import Epsilon
from .core.iterative import Output, Rows, State, wide
from .core.masks import inside_only
from .core.minimum_norm import MinimumNorm

IMAGE, LOOK, HALVE, PROBE, JUMP = range(5)  # what the present query is about
SHORTEST = 1e-4  # jump, of the distance, after which the direction is estimated anew


@dataclass(frozen=True)
class HopSkipJump(MinimumNorm):
    """The model's decisions alone: along the boundary to its nearest point, by how often random steps from it cross back.

    From a random adversarial image the way to the image is halved until the boundary x is known. Around it the model is asked
    about x + δ·u_b with u_b uniform on the sphere and δ = ‖x − x₀‖₂/D; φ_b = 1 where that is adversarial, else −1. From x the
    step v ∝ Σ_b (φ_b − φ̄)·u_b of length ‖x − x₀‖₂/√t is halved until it ends on the adversarial side, and from there the way
    to the image is halved again. Round t asks about ⌈probes·√t⌉ directions. Neither gradients nor scores are used.

    Source: Chen, Jordan, Wainwright (2020), HopSkipJumpAttack, algorithms 1 and 2.

    Args:
        eps: Largest distance of interest in l2; None for any (see MinimumNorm).
        queries: Of the model per image, each `eot` forward passes.
        probes: Directions of the first round.
        target: The class to reach; None for any misclassification.
        stop_within: Whether an image leaves at its first example within ε.
        eot: Noise draws of a randomized model averaged for each query.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    queries: int = 5000
    probes: int = 100
    target: int | None = None
    stop_within: bool = False
    eot: int = 1

    norms = ("l2",)
    access = "labels"
    paper = "Chen, Jordan, Wainwright (2020), HopSkipJumpAttack: a query-efficient decision-based attack, arXiv:1904.02144"
    usual = {"queries": 2000, "stop_within": True}
    norm = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "queries", hint="such as 5000")
        self._put(check_whole, "probes", of="directions", hint="such as 100")

    @property
    def steps(self) -> int:
        return self.queries - 1

    def start(self, rows: Rows, keys: Tensor) -> State:
        zero, none, nothing = torch.zeros_like(rows.eps), torch.zeros_like(rows.labels), torch.zeros_like(rows.images)
        return self.fresh(rows) | {
            "key": keys.to(rows.images.device),
            "asked": none,
            "doing": none + IMAGE,
            "round": none,
            "far": rows.images,  # adversarial, from where the way to the image is halved
            "at": rows.images,  # the boundary
            "low": zero,  # of that way, from the image on
            "high": zero,
            "size": zero,  # of the jump
            "way": nothing,  # its direction
            "probe": nothing,  # u
            "count": none,
            "crossed": none,  # of them those that are adversarial
            "signed": nothing,  # Σ φ·u
            "total": nothing,  # Σ u
        }

    def step(self, state: State, output: Output, rows: Rows) -> None:
        self.note(state, output, rows)
        won, doing = output.success, state["doing"]
        halving, probing, jumping = doing == HALVE, doing == PROBE, doing == JUMP
        state["asked"] = state["asked"] + 1

        middle = (state["low"] + state["high"]) / 2
        state["low"] = torch.where(halving & ~won, middle, state["low"])
        state["high"] = torch.where(halving & won, middle, state["high"])
        there = halving & (state["high"] - state["low"] <= rows.values**-1.5)
        self._count(state, probing, won)
        known = probing & (state["count"] >= (self.probes * state["round"].clamp_min(1).double().sqrt()).ceil())
        self._set_out(state, known, rows)
        state["size"] = torch.where(jumping & ~won, state["size"] / 2, state["size"])
        stuck = jumping & ~won & (state["size"] < SHORTEST * self.geometry.distance(state["at"], rows.images))

        found = won & ((doing == LOOK) | jumping)  # on the other side: the way back is halved
        state["far"] = torch.where(wide(found), state["x"], state["far"])
        state["low"], state["high"] = state["low"].masked_fill(found, 0.0), state["high"].masked_fill(found, 1.0)
        state["at"] = torch.where(wide(there), self._between(state, rows, state["high"]), state["at"])
        self._begin_round(state, there | stuck)
        state["doing"] = doing + (doing == IMAGE)
        for which, now in ((found, HALVE), (there | stuck, PROBE), (known, JUMP)):
            state["doing"] = state["doing"].masked_fill(which, now)
        state["x"] = self._next(state, rows)

    def _count(self, state: State, probing: Tensor, won: Tensor) -> None:
        """Add what the last probe tells of the boundary."""
        sign = (2 * won.float() - 1) * probing
        state["signed"] = state["signed"] + wide(sign) * state["probe"]
        state["total"] = state["total"] + wide(probing) * state["probe"]
        state["count"], state["crossed"] = state["count"] + probing, state["crossed"] + (probing & won)

    def _set_out(self, state: State, known: Tensor, rows: Rows) -> None:
        """Where the direction is `known` (N,), jump along it."""
        mean = 2 * state["crossed"].double() / state["count"].clamp_min(1) - 1
        mean = mean.masked_fill(mean.abs() == 1, 0.0)  # nothing to compare with
        way = state["signed"] - wide(mean).to(state["signed"]) * state["total"]
        length = way.flatten(1).norm(dim=1).clamp_min(1e-30)
        state["way"] = torch.where(wide(known), way / wide(length), state["way"])
        far = self.geometry.distance(state["at"], rows.images) / state["round"].clamp_min(1).double().sqrt()
        state["size"] = torch.where(known, far, state["size"])

    def _begin_round(self, state: State, begins: Tensor) -> None:
        state["round"] = state["round"] + begins
        for name in ("count", "crossed", "signed", "total"):
            state[name] = state[name].masked_fill(wide(begins) if state[name].dim() > 1 else begins, 0)

    def _between(self, state: State, rows: Rows, part: Tensor) -> Tensor:
        """The points `part` (N,) of the way from the images to `far`."""
        return rows.images + per_image(part, rows.images).float() * (state["far"] - rows.images)

    def _next(self, state: State, rows: Rows) -> Tensor:
        """What is asked about next, (N, C, H, W)."""
        doing, images = state["doing"], rows.images
        noise = uniform_noise(images, 1, derive(state["key"].cpu(), state["asked"].cpu()))[0]
        normal = inside_only(torch.erfinv(noise.clamp(-1 + 1e-6, 1 - 1e-6)) * math.sqrt(2), rows.mask)
        state["probe"] = normal / wide(normal.flatten(1).norm(dim=1).clamp_min(1e-30))
        delta = self.geometry.distance(state["at"], images) / rows.values
        asked = {
            LOOK: (noise + 1) / 2,
            HALVE: self._between(state, rows, (state["low"] + state["high"]) / 2),
            PROBE: state["at"] + per_image(delta, images).float() * state["probe"],
            JUMP: state["at"] + per_image(state["size"], images).float() * state["way"],
        }
        x = state["x"]
        for what, point in asked.items():
            x = torch.where(wide(doing == what), point.clamp(0, 1), x)
        return x
