"""√Σ δᵢ²: the Euclidean length of all changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .base import Norm, per_image, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _length(delta: Tensor) -> Tensor:
    """The l2 norm of the last three dimensions."""
    length: Tensor = delta.flatten(-3).norm(dim=-1)
    return length


@register
class L2(Norm):
    """√Σ δᵢ², of all color values of an image."""

    name = "l2"
    also = ("euclidean",)
    usual = (0.5, 3.0)
    unit = "l2 distance, colors from 0 to 1"
    meaning = (
        "How far the whole image may move in l2, the root of the summed squares of the changes of all pixels, colors counted "
        "from 0 to 1."
    )

    def diameter(self, images: Tensor) -> float:
        return math.sqrt(images.shape[1:].numel())

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        return _length(candidates.double() - images.double())

    def project(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """ε is kept in float64 whatever float32 rounding does."""
        eps = per_image(eps, images)
        candidates = candidates.clamp(0, 1)
        for shrink in (1.0, 1 - 1e-6, 1 - 1e-5, 1 - 1e-4):
            delta = candidates.double() - images.double()
            size = _length(delta).reshape(eps.shape)
            outside = size > eps
            if not outside.any():
                return candidates
            scale = (eps / size.clamp_min(1e-300) * shrink).where(outside, 1.0)
            candidates = (images.double() + delta * scale).float().where(outside, candidates)
        return images.where(_length(candidates.double() - images.double()).reshape(eps.shape) > eps, candidates)

    def clip(self, delta: Tensor, radius: Tensor) -> Tensor:
        radius = per_image(radius, delta).float()
        return delta * (radius / per_image(_length(delta).clamp_min(1e-30), delta)).clamp_max(1).float()

    def random_point(self, image: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        direction = image.new_empty(image.shape).normal_(generator=generator)
        radius = image.new_empty(()).uniform_(generator=generator) ** (1 / direction.numel())
        inner: Tensor = direction * (radius / direction.norm())  # a point of the ball of radius 1
        return eps * inner

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient / _length(gradient).clamp_min(1e-30).reshape(-1, 1, 1, 1)

    def dual(self, gradient: Tensor) -> Tensor:
        return _length(gradient)

    def _nearest_levels(self, wanted: Tensor, clean: Tensor, reach: float) -> Tensor:
        """Values are rounded to the nearest level while the budget lasts, those first that lie nearest to it, and the others
        towards the image."""
        saved = clean.round()
        inner = (saved + (wanted - saved).trunc()).flatten(1)
        outer, start = wanted.round().flatten(1), clean.flatten(1)
        order = (wanted.flatten(1) - outer).abs().argsort(dim=1)
        cost = ((outer - start).square() - (inner - start).square()).gather(1, order).cumsum(1)
        left = reach**2 - (inner - start).square().sum(1, keepdim=True)
        affordable = cost.cummax(1).values <= left
        taken = affordable.scatter(1, order, affordable)
        found = outer.where(taken, inner)
        far = (found - start).norm(dim=1, keepdim=True) > reach
        return saved.flatten(1).where(far, found).view_as(clean)
