"""An attack on the images of one part: what is crafted on which of them, and for whom."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..attacks.core.base import Attack, Outcome
from ..attacks.core.universal import Universal
from ..errors import EscrimeError, or_reason
from ..models.deadline import look, time_left
from ..models.running import Classifier, no_trace
from ..no_class import NO_TARGET
from ..norms import Norm
from ..randomness import key, seed_all_generators
from .images import Images
from .profile import Profile
from .quantized import on_the_grid
from .requests import norm_of
from .subjects import AnyAttack

ROUNDING = 1e-6  # a few units in the last place of a float32 color value


def crafted(
    attack: AnyAttack,
    profile: Profile,
    model: Classifier,
    images: Images,
    grid: list[float],
    seed: int,
    eot: int,
    fit: Callable[[Universal], Attack] | None = None,
) -> tuple[list[Outcome] | None, str]:
    """(the outcomes at every ε, ""), or (None, why the attack raised on `model`, whose `profile` it is). A model
    that ignores its input predicts the same whatever is done to it, so nothing is: every image stays, for no passes. fit: makes
    a universal attack ready, see universal.py."""
    if profile.around.ignores:
        return [untouched(images)] * len(grid), ""
    if isinstance(attack, Universal) and fit is not None and max(grid) > 0:
        asked_for = attack
        ready, reason = or_reason(lambda: fit(asked_for))
        if ready is None:
            return None, reason
        attack = ready
    targets, ours = targets_of(attack, images), isinstance(attack, Attack)
    # Our own attacks follow the faster copy's gradient; a user's attack gets the model it was promised.
    climbed: Any = profile.surrogate if ours else profile.asked or model
    noise = eot if profile.randomized else None
    outcomes, reason = or_reason(lambda: craft(attack, climbed, images, targets, grid, seed, noise))
    if outcomes is not None and ours and profile.settings.get("grid"):
        geometry = norm_of(attack)  # the model treats 8-bit images otherwise, and was asked about those
        outcomes = [
            replace(found, adversarial=on_the_grid(found.adversarial, images.pixels, eps, geometry, images.mask))
            for found, eps in zip(outcomes, grid, strict=True)
        ]
    return outcomes, reason


def untouched(images: Images) -> Outcome:
    nothing = torch.zeros(len(images.labels))
    return Outcome(images.pixels, nothing, nothing)


def misled(attack: AnyAttack) -> bool:
    """Whether any misclassification is what the attack wants."""
    return getattr(attack, "target", None) is None


def on_all(made: tuple[list[Outcome] | None, str], some: Images, images: Images) -> tuple[list[Outcome] | None, str]:
    """What `crafted` made of `some` of the images, as what it made of all: the others are as they were, for no passes."""
    outcomes, reason = made
    if outcomes is None or len(some.ids) == len(images.ids):
        return made
    place = {name: row for row, name in enumerate(images.ids)}
    rows = torch.tensor([place[name] for name in some.ids], dtype=torch.int64)
    spread = []
    for outcome in outcomes:
        whole = untouched(images)
        adversarial = whole.adversarial.clone()
        adversarial[rows.to(adversarial.device)] = outcome.adversarial
        spent = [
            column.clone().index_copy(0, rows, made_by.cpu().to(column))
            for column, made_by in ((whole.forwards, outcome.forwards), (whole.backwards, outcome.backwards))
        ]
        forwards, backwards = spent
        spread.append(Outcome(adversarial, forwards, backwards, parameters=_spread(outcome, rows, len(images.ids))))
    return spread, reason


def craft(
    attack: AnyAttack,
    model: Classifier,
    images: Images,
    targets: Tensor,
    epsilons: list[float],
    seed: int,
    eot: int | None,
) -> list[Outcome]:
    """Run the attack at every ε on the images it applies to; the others, and all at ε = 0, stay as they are.

    eot: noise draws per gradient of a randomized model, None for a deterministic one. An image that already belongs to
    the target class is left unchanged and counted, as in the paper's DGSM sweep. A callable that is not an Attack is
    called as attack(model, images, labels) at its own ε, on the model in eval mode; what it draws from a global generator
    is seeded by `seed` and the ids of the images, all at once.
    """
    rows = (targets != images.labels).nonzero().flatten()
    zero = torch.zeros(len(images.labels))
    outcomes = [untouched(images) for _ in epsilons]
    positive = [i for i, eps in enumerate(epsilons) if eps > 0]
    if not len(rows) or not positive:
        return outcomes
    pixels, labels, ids = images.pixels[rows], images.labels[rows], [images.ids[i] for i in rows.tolist()]
    if isinstance(attack, Attack):
        if eot is not None:
            attack = attack.against_noise(eot)
        swept = attack.sweep(model, pixels, labels, [epsilons[i] for i in positive], seed=seed, ids=ids, mask=images.mask)
    else:
        unknown = torch.full((len(rows),), float("nan"))
        devices = [pixels.device.index or 0] if pixels.device.type == "cuda" else []
        with no_trace(model, pixels.device), _looking(model):
            seed_all_generators(key("callable", seed, *map(str, ids)), devices)
            found = attack(model, pixels.clone(), labels.clone())  # it may work in place
        found = found.detach() if isinstance(found, Tensor) else found
        swept = [Outcome(_rounded_into(found, pixels, epsilons[i], norm_of(attack)), unknown, unknown) for i in positive]
    for i, outcome in zip(positive, swept, strict=True):
        adversarial, forwards, backwards = images.pixels.clone(), zero.clone(), zero.clone()
        adversarial[rows], forwards[rows.cpu()], backwards[rows.cpu()] = (
            outcome.adversarial,
            outcome.forwards.cpu(),
            outcome.backwards.cpu(),
        )
        made_from = _spread(outcome, rows.cpu(), len(images.labels))
        outcomes[i] = Outcome(adversarial, forwards, backwards, parameters=made_from)
    return outcomes


def _spread(outcome: Outcome, rows: Tensor, count: int) -> Tensor | None:
    """The parameters of an outcome about `rows` (M,) of so many images, NaN for the others."""
    if outcome.parameters is None:
        return None
    some = outcome.parameters.double().cpu()
    return torch.full((count, some.shape[1]), float("nan"), dtype=torch.float64).index_copy(0, rows, some)


@contextmanager
def _looking(model: Classifier) -> Iterator[None]:
    """Within the block a deadline is looked at before every call of the model, by whomever."""
    handle = None
    if time_left() is not None and isinstance(model, torch.nn.Module):
        handle = model.register_forward_pre_hook(lambda *_: look())
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _rounded_into(found: Tensor, images: Tensor, eps: float, geometry: Norm) -> Tensor:
    """Other libraries keep ε up to the rounding of float32: what is beyond it by no more is put back. What is farther out
    stays there, for the verification to see."""
    if not isinstance(found, Tensor):
        raise EscrimeError(
            f"the attack returned a {type(found).__name__}; an attack(model, images, labels) returns images, a float32 tensor."
        )
    if found.shape != images.shape or found.dtype != images.dtype:
        raise EscrimeError(
            f"the attack returned {found.dtype} of shape {tuple(found.shape)} for images of shape {tuple(images.shape)}; "
            "an attack(model, images, labels) returns float32 images of the same shape."
        )
    inner = geometry.project(found, images, eps)
    close = (inner - found).flatten(1).abs().amax(1) <= ROUNDING
    return torch.where(close[:, None, None, None], inner, found)


def targets_of(attack: object, images: Images) -> Tensor:
    target = getattr(attack, "target", None)
    return torch.full_like(images.labels, NO_TARGET if target is None else target)
