"""#{pixels p : δ_p ≠ 0}: how many pixels change, each to any color."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..budgets import LEVELS
from ..errors import EscrimeError
from .base import Norm, per_image, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@register
class L0(Norm):
    """How many pixels change. A pixel is a place: all its channels may change and count once, as in Sparse-RS; sigma-zero and
    FMN count single color values in their papers."""

    name = "l0"
    also: tuple[str, ...] = ("sparse", "pixels", "few_pixels")
    eps_in_words = " pixels in l0"
    usual = (24.0, 150.0)
    unit = "changed pixels"
    meaning = (
        "How many pixels may change, each to any color. A pixel is a place of the image: its channels count once, together."
    )
    direction = "the pixels on which the gradient is largest, each as far as the box lets it"
    sparse = True
    polytope = True
    grain = 1.0
    counted = "number of pixels"

    def epsilon(self, value: float | int | str) -> float:
        """A whole number of pixels; EscrimeError for any other, most often a fraction of the color range."""
        number = super().epsilon(value)
        if number != int(number):
            raise EscrimeError(f"ε = {value!r} is no {self.counted}, which {self.name} counts; use a whole number such as 10.")
        return number

    def counts(self, eps: float) -> str:
        return "pixels"

    def diameter(self, images: Tensor) -> float:
        return float(images.shape[2:].numel())

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        return (candidates != images).any(1).flatten(1).sum(1).double()

    def project(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """The exact projection: of the pixels that change most, as far as the box lets them, those that it brings nearest."""
        inside = candidates.clamp(0, 1)
        wanted = candidates.double()
        gain = (wanted - images).square().sum(1) - (wanted - inside).square().sum(1)
        return inside.where(self.kept(gain.where((inside != images).any(1), -1.0), per_image(eps, images)), images)

    def steered(self, candidates: Tensor, images: Tensor, eps: float | Tensor, slope: Tensor) -> Tensor:
        inside = candidates.clamp(0, 1)
        gain = (slope * (inside - images)).sum(1)
        return inside.where(self.kept(gain, per_image(eps, images)), images)

    def clip(self, delta: Tensor, radius: Tensor) -> Tensor:
        return delta.where(self.kept(delta.square().sum(1), per_image(radius, delta)), 0.0)

    def random_point(self, image: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels drawn without replacement, each channel uniform in [−1, 1]."""
        order = image.new_empty(image.shape[1:]).uniform_(generator=generator)
        delta: Tensor = image.new_empty(image.shape).uniform_(-1, 1, generator=generator)
        return delta.where(self.kept(order[None], eps.reshape(1, 1, 1, 1))[0], 0.0)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Of one pixel, whose channels move by 1 at most, as in a box of size 1."""
        slope = gradient.abs().sum(1)
        chosen = self.kept(slope, slope.new_ones(len(slope), 1, 1, 1))
        return gradient.sign().where(chosen, 0.0)

    def climb(self, x: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """The pixels that gain most go to corners of the color box."""
        size = size * x.new_ones(len(x), 1, 1, 1)
        gradient = gradient * size.sign()
        best = (gradient > 0).float().where(gradient != 0, x)
        gain = (gradient * (best - x)).sum(1)
        return best.where(self.kept(gain, size.abs()), x)

    def dual(self, gradient: Tensor) -> Tensor:
        return gradient.abs().sum(-3).flatten(-2).amax(-1)

    def reach(self, x: Tensor, gradient: Tensor, fall: Tensor) -> Tensor:
        """Exact: the pixels that gain most, each at the corner of the color box."""
        gains = (gradient.abs() * x.where(gradient > 0, 1 - x)).sum(1).flatten(1).double().sort(dim=1, descending=True).values
        enough: Tensor = (1 + (gains.cumsum(1) < fall[:, None]).sum(1)).clamp_max(gains.shape[1]).double()
        return enough.where(fall > 0, 0.0)

    def _nearest_levels(self, wanted: Tensor, clean: Tensor, reach: float) -> Tensor:
        """A pixel that is as it was becomes that of the clean image of 8 bits: such rounding is no change of an attack's."""
        saved = clean.round()
        moved = (wanted != clean).any(1).double()
        size = (wanted.round() - saved).square().sum(1)
        kept = self.kept(moved + size, size.new_full((len(size), 1, 1, 1), reach / LEVELS)) & moved.bool()[:, None]
        return wanted.round().where(kept, saved)

    def kept(self, score: Tensor, count: Tensor) -> Tensor:
        """The pixels with the largest scores (N, H, W), as many of each image as `count` (N, 1, 1, 1) holds whole ones; bool
        (N, 1, H, W)."""
        flat = score.flatten(1)
        order = flat.argsort(dim=1, descending=True, stable=True)
        taken = count.flatten(1) >= order.new_ones(flat.shape).cumsum(1)
        return taken.new_zeros(flat.shape).scatter(1, order, taken).view_as(score)[:, None]
