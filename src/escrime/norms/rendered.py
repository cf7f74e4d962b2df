"""Threats that are no ball around an image: images made from it by a rule with parameters, such as turning it by an angle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..budgets import LEVELS
from .base import Norm, in_box, per_image

if TYPE_CHECKING:
    from torch import Tensor


class Rendered(Norm):
    """Base of norms whose images are rendered: x' = R(x, θ) with size(θ) ≤ ε. A subclass implements `render` and `size`.

    The distance of two images says nothing here, so a candidate is verified by rendering it again from its parameters.
    """

    rendered = True

    def render(self, images: Tensor, parameters: Tensor) -> Tensor:
        """R(x, θ), the same bits whatever else is in the batch.

        Args:
            images: x, float32 (N, C, H, W) in [0, 1].
            parameters: θ, float64 (N, P).

        Returns:
            float32 (N, C, H, W) in [0, 1].
        """
        raise NotImplementedError

    def size(self, parameters: Tensor) -> Tensor:
        """How large θ (N, P) is, in the units of ε, float64 (N,)."""
        raise NotImplementedError

    def diameter(self, images: Tensor) -> float:
        """The full range of ε: beyond it nothing is rendered."""
        return self.largest

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """NaN (N,): from two images alone it is not known."""
        return candidates.new_full((len(candidates),), float("nan")).double()

    def inside(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """Which are finite and in [0, 1], (N,) bool: all that two images show. `keeps` knows more."""
        return in_box(candidates)

    def keeps(
        self, candidates: Tensor, images: Tensor, eps: float | Tensor, parameters: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Norm.keeps`: those that their parameters render again to the last bit. A row of NaN stands for the image as it
        was; where there are no parameters at all, nothing else counts."""
        same = (candidates == images).flatten(1).all(1)
        if parameters is None:
            return same, same.double() * 0
        parameters = parameters.to(images.device)
        left = parameters.isnan().any(1)
        known = parameters.where(~left[:, None], 0)
        again = self.render(images, known)
        made = (again == candidates).flatten(1).all(1) & (self.size(known) <= per_image(eps, images).flatten())
        return (same & left) | (made & ~left), self.size(known).where(~left, 0)

    def to_8_bits(self, candidates: Tensor, images: Tensor, eps: float) -> Tensor:
        """The candidates (N, C, H, W) as a picture file holds them: every value the nearest level k/255."""
        return (candidates.double() * LEVELS).round().clamp(0, LEVELS).float() / LEVELS
