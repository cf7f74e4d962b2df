"""How an attacker who knows a model comes at it: is it random, where do its gradients fail, and what to climb instead."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..attacks.surface import Surface
from ..models.running import check_logits, failure_named, no_trace
from ..models.twin import Twin
from ..randomness import row_keys
from ..threat import check_images
from .cases import Case
from .checks.gradients import Gradients, measure_gradients, surface_settings
from .images import PART, Images, Source
from .records import BLACK_BOX, WHITE_BOX
from .scoring import draws_once_per_batch, is_randomized, score


@dataclass(frozen=True)
class Approach:
    """classes: K. randomized: repeated forwards disagree. twin: the model and its faster copy, for verdicts. surface: what
    gradient attacks climb; the twin itself where the model's gradients are as they should be. gradients: what was measured,
    None for a plain callable or where no image is classified right. settings: of the Surface, {} without one. blind: a plain
    callable that gives no gradients."""

    classes: int
    randomized: bool
    twin: Twin
    surface: Twin
    gradients: Gradients | None
    settings: dict
    blind: bool = False


def approach(model, images: Tensor, labels: Tensor, step: float, seed: int) -> Approach:
    """Look at `model` with a few images (N, C, H, W); step: a small distance per pixel, such as a quarter of ε.

    Errors: EscrimeError for a model that returns no logits (N, K).
    """
    classes, randomized, twin = _classes(model, images[:2]), is_randomized(model, images), Twin(model)
    plain = Approach(classes, randomized, twin, twin, None, {})
    if not isinstance(model, nn.Module):
        with torch.enable_grad():  # a clone of the leaf, for a model may write into what it is given
            answer = model(images[:1].detach().requires_grad_().clone())
        return replace(plain, blind=not answer.requires_grad)
    keys = [(seed, row, "approach") for row in range(len(images))]
    anything, none = torch.zeros_like(labels), labels.new_full(labels.shape, -1)  # labels of no class are refused later
    right = score(twin, images, anything, none, keys).prediction == labels.cpu()
    if not right.any():
        return plain
    rows = right.to(images.device)
    found = measure_gradients(model, images[rows], labels[rows], step, seed)
    settings = surface_settings(found)
    if randomized and draws_once_per_batch(model, images[:1]):
        settings["apart"] = True
    surface = Twin(Surface(model, **settings)) if settings else twin
    return replace(plain, surface=surface, gradients=found, settings=settings)


@torch.no_grad()
def _classes(model, images: Tensor) -> int:
    shape = " × ".join(map(str, images.shape[1:]))
    fails, remedy = f"the model fails on float32 images of {shape} in [0, 1]", "give images of its size, and a float32 model"
    keys = row_keys([("classes", row) for row in range(len(images))])
    with failure_named(fails, remedy), no_trace(model, images.device), keys:
        return check_logits(model(images.clone()), images).shape[1]


class Approaches:
    """The approach to each model, found on a few of the images when it is first asked for."""

    def __init__(self, source: Source, step: float, seed: int, count: int = PART):
        self.source, self.step, self.seed, self.count = source, step, seed, count
        self.known: dict[int, Approach] = {}

    def __getitem__(self, model) -> Approach:
        if id(model) not in self.known:
            found = approach(model, self.images.pixels, self.images.labels, self.step, self.seed)
            self.source.check_classes(found.classes)
            self.known[id(model)] = found
        return self.known[id(model)]

    @cached_property
    def images(self) -> Images:
        """`count` of them, as many as a slice holds unless there is no time for that, evenly over the classes; always the same,
        so that a resumed evaluation decides alike."""
        few = self.source.few(self.count, self.seed)
        check_images(few.pixels)
        return few


def as_attacked(cases: list[Case], approaches: Approaches) -> list[Case]:
    """The cases, those of an undefended model that gives no gradients at the threat level of a black box."""
    blind = lambda case: not isinstance(case.attacked, nn.Module) and approaches[case.attacked].blind  # noqa: E731
    return [replace(case, threat=BLACK_BOX) if case.threat == WHITE_BOX and blind(case) else case for case in cases]
