"""How an attacker who knows a model comes at it: is it random, where do its gradients fail, and what to climb instead."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..attacks.surface import Surface
from ..errors import EscrimeError
from ..models.twin import Twin
from ..threat import check_images
from .cases import Case
from .checks.gradients import Gradients, measure_gradients, surface_settings
from .images import PART, Images, Source
from .records import BLACK_BOX, WHITE_BOX
from .scoring import draws_once_per_batch, is_randomized, score


@dataclass(frozen=True)
class Approach:
    """randomized: repeated forwards disagree. twin: the model and its faster copy, for verdicts. surface: what gradient
    attacks climb; the twin itself where the model's gradients are as they should be. gradients: what was measured, None
    for a plain callable or where no image is classified right. settings: of the Surface, {} without one."""

    randomized: bool
    twin: Twin
    surface: Twin
    gradients: Gradients | None
    settings: dict
    blind: bool = False


def approach(model, images: Tensor, labels: Tensor, step: float, seed: int) -> Approach:
    """Look at `model` with a few images (N, C, H, W); step: a small distance per pixel, such as a quarter of ε."""
    randomized, twin = is_randomized(model, images), Twin(model)
    if not isinstance(model, nn.Module):
        with torch.enable_grad():
            answer = model(images[:1].clone().requires_grad_())
        return Approach(randomized, twin, twin, None, {}, blind=not getattr(answer, "requires_grad", False))
    keys = [(seed, row, "approach") for row in range(len(images))]
    anything, none = torch.zeros_like(labels), labels.new_full(labels.shape, -1)  # wrong labels are for the attacks to refuse
    right = score(twin, images, anything, none, keys).prediction == labels.cpu()
    if not right.any():
        return Approach(randomized, twin, twin, None, {})
    rows = right.to(images.device)
    found = measure_gradients(model, images[rows], labels[rows], step, seed)
    settings = surface_settings(found)
    if randomized and draws_once_per_batch(model, images[:1]):
        settings["apart"] = True
    surface = Twin(Surface(model, **settings)) if settings else twin
    return Approach(randomized, twin, surface, found, settings)


class Approaches:
    """The approach to each model, found on a few of the images when it is first asked for."""

    def __init__(self, source: Source, step: float, seed: int):
        self.source, self.step, self.seed = source, step, seed
        self.known: dict[int, Approach] = {}

    def __getitem__(self, model) -> Approach:
        if id(model) not in self.known:
            self.known[id(model)] = approach(model, self.images.pixels, self.images.labels, self.step, self.seed)
        return self.known[id(model)]

    @cached_property
    def images(self) -> Images:
        """As many as a slice holds, evenly over the classes; always the same, so that a resumed evaluation decides alike."""
        few = self.source.few(PART, self.seed)
        if not few.ids:
            raise EscrimeError("data holds no image; give at least one.")
        check_images(few.pixels)
        return few


def as_attacked(cases: list[Case], approaches: Approaches) -> list[Case]:
    """The cases, those of an undefended model that gives no gradients at the threat level of a black box."""
    blind = lambda case: not isinstance(case.attacked, nn.Module) and approaches[case.attacked].blind  # noqa: E731
    return [replace(case, threat=BLACK_BOX) if case.threat == WHITE_BOX and blind(case) else case for case in cases]
