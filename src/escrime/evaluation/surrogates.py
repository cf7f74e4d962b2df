"""Which surrogate to follow, where a model hides its gradient: tried by attacks, as nothing else shows what leads somewhere."""

from dataclasses import replace

import torch
from torch import Tensor

from ..attacks.adaptive.surrogate import Surrogate
from ..attacks.pgd import PGD
from ..checks import no_targets
from ..models.fast.twin import Twin
from ..models.running import Classifier
from ..norms import Norm
from .scoring import score
from .subjects import AnyAttack

TRIED_ON = 24  # images
STEPS, DRAWS = 15, 4
WAYS: tuple[dict, ...] = ({}, {"whole": True}, {"unsaturated": True}, {"whole": True, "unsaturated": True})
KEPT = 2  # other surrogates to attack as well


def choose_surrogate(
    model: Classifier,
    twin: Twin,
    settings: dict,
    inside: list,
    images: Tensor,
    labels: Tensor,
    eps: float,
    geometry: Norm,
    randomized: bool,
    seed: int,
) -> tuple[dict | None, list[dict]]:
    """The settings of the Surrogate whose gradients fool most of `images` (N, C, H, W), as the original judges, and of others
    that fool images which it does not. (None, []) where no gradient can be had at all.

    settings: what every surrogate has. inside: inner logits to climb, see attacks/adaptive/inner_logits.py.
    """
    x, y = images[:TRIED_ON], labels[:TRIED_ON]
    pgd = PGD(eps, steps=STEPS, norm=geometry.name, loss="margin", early_stop=not randomized)
    attack: AnyAttack = replace(pgd, eot=DRAWS) if randomized else pgd
    deeper = [{**way, "inner": inner} for inner in inside for way in WAYS[:2]]
    ways = [WAYS[0], *deeper, *WAYS[1:], {"through": False}]
    tried: list[tuple[dict, Tensor]] = []
    for way in ways:
        own = {**settings, **way}
        try:
            moved = attack(Twin(Surrogate(model, **own)), x, y, seed=seed)
        except Exception:  # a way that this model does not go
            continue
        tried.append((own, stands(twin, moved, x, y, eps, geometry, seed, 16 if randomized else 1)))
        if not tried[-1][1].any():
            break
    if not tried:
        return None, []
    tried.sort(key=lambda one: float(one[1].mean()))
    best = tried[0][1]
    others = [own for own, left in tried[1:] if not randomized and bool((left < best).any())]
    return tried[0][0], others[:KEPT]


def stands(
    twin: Twin, moved: Tensor, images: Tensor, labels: Tensor, eps: float, norm: Norm, seed: int, draws: int = 1
) -> Tensor:
    """The share of draws (N,) in which the original is right about `moved`, or about the 8-bit image next to it within ε
    where that is less."""
    none, keys = no_targets(labels), [(seed, row, "surfaces") for row in range(len(labels))]
    saved = norm.to_8_bits(moved, images, eps)
    return torch.minimum(*(score(twin, z, labels, none, keys, draws).correct.float() for z in (moved, saved)))
