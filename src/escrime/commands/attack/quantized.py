"""An adversarial example that survives being a picture file: 256 levels per channel, and still within ε."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...access import LABELS, SCORES
from ...attacks.apgd import APGD
from ...attacks.core.base import Attack
from ...attacks.core.registry import make, named, sees, settings_of
from ...attacks.core.universal import Universal
from ...attacks.pgd import PGD
from ...attacks.rays import RayS
from ...attacks.square import Square
from ...budgets import LEVELS, eps_text, levels_within
from ...errors import EscrimeError
from ...models.adapted import in_its_precision
from ...models.running import Classifier, check_logits, full_precision, no_trace
from ...norms import DEFAULT, norm

STEPS, QUERIES = 50, 1000


@dataclass(frozen=True)
class PhotoSearch:
    """What is attacked and how.

    model: images (N, 3, H, W) → logits (N, K). access: what it gives away, "gradients", "scores" or "labels", as of Loaded.
    target: the class to reach, None for any wrong one. seed: of the attacks' noise, beside the image's name. attacks: names of
    those to try in turn, () for the usual ones. climbed: what the attacks ask in place of the model, where a photo is resized
    between the two; as_read: what the model then sees of an adversarial image (1, 3, H, W). mask: which pixels may change, bool
    (H, W), None for all.
    """

    model: Classifier
    access: str
    target: int | None
    seed: int
    attacks: tuple[str, ...] = ()
    climbed: Classifier | None = None
    mask: Tensor | None = None
    as_read: Callable[[Tensor], Tensor] = lambda image: image

    def predict(self, image: Tensor) -> tuple[int, float]:
        """The class that the model gives an adversarial image as it sees it, and its softmax probability."""
        return predict(self.model, self.as_read(image))

    def run(self, attack: Attack, image: Tensor, label: int, name: str) -> Tensor:
        """What `attack` makes of one image (1, 3, H, W) that is called `name`."""
        model = self.model if self.climbed is None else self.climbed
        return attack(model, image, torch.tensor([label], device=image.device), seed=self.seed, ids=[name], mask=self.mask)

    def reached(self, predicted: int, label: int) -> bool:
        """Whether a model that called an image `label` and now `predicted` is fooled: at the target, where there is one."""
        return predicted != label if self.target is None else predicted == self.target


@dataclass(frozen=True)
class Fooled:
    """The adversarial image (1, 3, H, W), every value a whole level k/255; `levels`: the ε it keeps, in levels; `label`: what
    the model calls it; `found`: whether that is what was wanted."""

    image: Tensor
    levels: int
    label: int
    found: bool


def fool(search: PhotoSearch, image: Tensor, label: int, levels: int, name: str) -> Fooled:
    """Look for an image within `levels` gray levels of `image` (1, 3, H, W), itself of whole levels, that the model no longer
    calls `label` (or calls the target). name: what tells the image's noise from that of others."""
    eps, last = levels / LEVELS, image
    classes = len(logits_of(search.model, image)[0])
    chosen = [beyond(named(each), eps, search.target) for each in search.attacks]
    for attack in chosen or attempts(search, eps, classes):
        last = whole_levels(search.run(attack, image, label, name), image, levels)
        predicted = search.predict(last)[0]
        if search.reached(predicted, label):
            return Fooled(last, levels, predicted, True)
    return Fooled(last, levels, search.predict(last)[0], False)


def beyond(attack: type[Attack], eps: float, target: int | None) -> Attack:
    """The attack in l_inf, going on past the boundary where it has that setting, so that rounding does not undo it."""
    known = settings_of(attack)
    usual = {"early_stop": False, "steps": STEPS, "queries": QUERIES, "target": target}
    return make(attack, eps, DEFAULT, **{name: value for name, value in usual.items() if name in known})


def check_chosen(chosen: tuple[str, ...], access: str, aimed: bool) -> None:
    """EscrimeError for an attack that is unknown, works in another norm, needs what there is not, or more than one image."""
    for name in chosen:
        attack = named(name)
        if not sees(attack, access):
            raise EscrimeError(f"attack {name!r} needs {attack.access}, and the model gives {access} only; leave it out.")
        if issubclass(attack, Universal):
            raise EscrimeError(
                f"attack {name!r} is fitted on many images and attacks others, and here each photo is attacked alone; leave it "
                "out, or run `escrime evaluate`, which keeps what it was fitted to as pictures."
            )
        if attack.needs_target and not aimed:
            raise EscrimeError(f"attack {name!r} needs a class to reach; name it with --target.")
        if aimed and "target" not in settings_of(attack):
            raise EscrimeError(f"attack {name!r} cannot be aimed at a class; leave out --target, or take another attack.")
        beyond(attack, 1 / LEVELS, None)


def attempts(search: PhotoSearch, eps: float, classes: int) -> list[Attack]:
    """Attacks that go on beyond the boundary, so that rounding does not bring the image back."""
    target = search.target
    if search.access == SCORES:
        return [Square(eps, queries=QUERIES, target=target)]
    if search.access == LABELS:
        return [RayS(eps, queries=QUERIES, target=target)]
    found: list[Attack] = [
        PGD(eps, steps=STEPS, loss="margin", target=target, early_stop=False),
        APGD(eps, steps=2 * STEPS, target=target, early_stop=False),
    ]
    if target is None and classes > 2:
        found.append(APGD(eps, steps=2 * STEPS, loss="margin", targets_tried=min(9, classes - 1), early_stop=False))
    return found


def smallest(search: PhotoSearch, image: Tensor, label: int, name: str) -> Fooled:
    """The fewest levels at which `fool` finds one: doubled until it does, then halved. RayS finds the nearest by itself."""
    if search.access == LABELS and not search.attacks:
        return _nearest(search, image, label, name)
    low, high, found = 0, 1, None
    while found is None:
        tried = fool(search, image, label, high, name)
        if tried.found:
            found = tried
        elif high == LEVELS:
            return tried
        else:
            low, high = high, min(2 * high, LEVELS)
    while found.levels - low > 1:
        middle = (low + found.levels) // 2
        tried = fool(search, image, label, middle, name)
        if tried.found:
            found = tried
        else:
            low = middle
    return found


def _nearest(search: PhotoSearch, image: Tensor, label: int, name: str) -> Fooled:
    moved = search.run(RayS(queries=QUERIES, target=search.target), image, label, name)
    levels = min(max(1, math.ceil(float((moved - image).abs().max()) * LEVELS - 1e-3)), LEVELS)
    # Every pixel of a ray is at its bound: rounded outward, it lies a little beyond the boundary.
    for reach in range(levels, min(levels + 3, LEVELS) + 1):
        last = whole_levels(image + (moved - image).sign() * (reach / LEVELS), image, reach)
        predicted = search.predict(last)[0]
        if search.reached(predicted, label):
            return Fooled(last, reach, predicted, True)
    return Fooled(last, reach, predicted, False)


def whole_levels(moved: Tensor, image: Tensor, levels: int) -> Tensor:
    """The nearest image to `moved` of whole levels within `levels` of `image`."""
    return norm(DEFAULT).to_8_bits(moved, image, levels / LEVELS)


def whole_eps(eps: float) -> int:
    """ε as whole gray levels, rounded down.

    Raises:
        EscrimeError: Below one.
    """
    levels = levels_within(eps)
    if levels < 1:
        raise EscrimeError(
            f"ε = {eps_text(eps)} is less than one of a picture's 256 gray levels (1/255 = {1 / LEVELS:.4f}); no file can "
            "hold such a change. Give at least 1/255, or leave --eps out for the smallest that works."
        )
    return levels


@torch.no_grad()
def logits_of(model: Classifier, image: Tensor) -> Tensor:
    """The model's logits (1, K); the model is left as it was."""
    with no_trace(model, image.device), full_precision(image.device):
        return check_logits(in_its_precision(model)(image.clone()), image)


def predict(model: Classifier, image: Tensor) -> tuple[int, float]:
    """The class of one image and its softmax probability."""
    chances = logits_of(model, image).float().softmax(dim=1)[0]
    return int(chances.argmax()), float(chances.max())
