"""An adversarial example that survives being a picture file: 256 levels per channel, and still within ε."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...attacks.apgd import APGD
from ...attacks.core.base import Attack
from ...attacks.core.registry import make, named, sees, settings_of
from ...attacks.pgd import PGD
from ...attacks.rays import RayS
from ...attacks.square import Square
from ...budgets import LEVELS, levels_within
from ...errors import EscrimeError
from ...models.running import full_precision, no_trace
from ...norms import norm

STEPS, QUERIES = 50, 1000


@dataclass(frozen=True)
class Fooled:
    """The adversarial image (1, 3, H, W), every value a whole level k/255; `levels`: the ε it keeps, in levels; `label`: what
    the model calls it; `found`: whether that is what was wanted."""

    image: Tensor
    levels: int
    label: int
    found: bool


def fool(
    model,
    image: Tensor,
    label: int,
    levels: int,
    target: int | None,
    answers: str,
    seed: int,
    name: str,
    chosen: tuple[str, ...] = (),
) -> Fooled:
    """Look for an image within `levels` gray levels of `image` (1, 3, H, W), itself of whole levels, that `model` no longer
    calls `label` (or calls `target`). answers: "gradients", "scores" or "labels", as of Loaded. chosen: names of attacks, ()
    for the usual ones."""
    truth, eps = torch.tensor([label], device=image.device), levels / LEVELS
    last, classes = image, len(logits_of(model, image)[0])
    tried = [beyond(named(each), eps, target) for each in chosen]
    for attack in tried or attempts(eps, target, answers, classes):
        moved = attack(model, image, truth, seed=seed, ids=[name])
        last = whole_levels(moved, image, levels)
        said = predict(model, last)[0]
        if reached(said, label, target):
            return Fooled(last, levels, said, True)
    return Fooled(last, levels, predict(model, last)[0], False)


def beyond(attack: type[Attack], eps: float, target: int | None) -> Attack:
    """The attack in l_inf, going on past the boundary where it has that setting, so that rounding does not undo it."""
    known = settings_of(attack)
    usual = {"early_stop": False, "steps": STEPS, "queries": QUERIES, "target": target}
    return make(attack, eps, "linf", **{name: value for name, value in usual.items() if name in known})


def check_chosen(chosen: tuple[str, ...], answers: str, aimed: bool) -> None:
    """EscrimeError for an attack that is unknown, works in another norm, or needs what there is not."""
    for name in chosen:
        attack = named(name)
        if not sees(attack, answers):
            raise EscrimeError(f"attack {name!r} needs {attack.access}, and the model gives {answers} only; leave it out.")
        if attack.needs_target and not aimed:
            raise EscrimeError(f"attack {name!r} needs a class to reach; name it with --target.")
        if aimed and "target" not in settings_of(attack):
            raise EscrimeError(f"attack {name!r} cannot be aimed at a class; leave out --target, or take another attack.")
        beyond(attack, 1 / LEVELS, None)


def attempts(eps: float, target: int | None, answers: str, classes: int) -> list:
    """Attacks that go on beyond the boundary, so that rounding does not bring the image back."""
    if answers == "scores":
        return [Square(eps, queries=QUERIES, target=target)]
    if answers == "labels":
        return [RayS(eps, queries=QUERIES, target=target)]
    found = [
        PGD(eps, steps=STEPS, loss="margin", target=target, early_stop=False),
        APGD(eps, steps=2 * STEPS, target=target, early_stop=False),
    ]
    if target is None and classes > 2:
        found.append(APGD(eps, steps=2 * STEPS, loss="margin", targets_tried=min(9, classes - 1), early_stop=False))
    return found


def smallest(
    model,
    image: Tensor,
    label: int,
    target: int | None,
    answers: str,
    seed: int,
    name: str,
    chosen: tuple[str, ...] = (),
) -> Fooled:
    """The fewest levels at which `fool` finds one: doubled until it does, then halved. RayS finds the nearest by itself."""
    if answers == "labels" and not chosen:
        return _nearest(model, image, label, target, seed, name)
    low, high, found = 0, 1, None
    while found is None:
        tried = fool(model, image, label, high, target, answers, seed, name, chosen)
        if tried.found:
            found = tried
        elif high == LEVELS:
            return tried
        else:
            low, high = high, min(2 * high, LEVELS)
    while found.levels - low > 1:
        middle = (low + found.levels) // 2
        tried = fool(model, image, label, middle, target, answers, seed, name, chosen)
        if tried.found:
            found = tried
        else:
            low = middle
    return found


def _nearest(model, image: Tensor, label: int, target: int | None, seed: int, name: str) -> Fooled:
    truth = torch.tensor([label], device=image.device)
    moved = RayS(queries=QUERIES, target=target)(model, image, truth, seed=seed, ids=[name])
    levels = min(max(1, math.ceil(float((moved - image).abs().max()) * LEVELS - 1e-3)), LEVELS)
    # Every pixel of a ray is at its bound: rounded outward, it lies a little beyond the boundary.
    for reach in range(levels, min(levels + 3, LEVELS) + 1):
        last = whole_levels(image + (moved - image).sign() * (reach / LEVELS), image, reach)
        said = predict(model, last)[0]
        if reached(said, label, target):
            return Fooled(last, reach, said, True)
    return Fooled(last, reach, said, False)


def whole_levels(moved: Tensor, image: Tensor, levels: int) -> Tensor:
    """The nearest image to `moved` of whole levels within `levels` of `image`."""
    return norm("linf").to_8_bits(moved, image, levels / LEVELS)


def whole_eps(eps: float) -> int:
    """ε as whole gray levels, rounded down. Errors: EscrimeError below one."""
    levels = levels_within(eps)
    if levels < 1:
        raise EscrimeError(
            f"ε = {eps:g} is less than one of a picture's 256 gray levels (1/255 = {1 / LEVELS:.4f}); no file can hold such a "
            "change. Give at least 1/255, or leave --eps out for the smallest that works."
        )
    return levels


def reached(said: int, label: int, target: int | None) -> bool:
    """Whether a model that called an image `label` and now calls it `said` is fooled: at the target, where there is one."""
    return said != label if target is None else said == target


@torch.no_grad()
def logits_of(model, image: Tensor) -> Tensor:
    """What the model answers, (1, K), left as it was."""
    with no_trace(model, image.device), full_precision(image.device):
        return model(image.clone())


def predict(model, image: Tensor) -> tuple[int, float]:
    """The class of one image and its softmax probability."""
    chances = logits_of(model, image).float().softmax(dim=1)[0]
    return int(chances.argmax()), float(chances.max())
