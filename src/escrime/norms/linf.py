"""max |δᵢ|: every color value may move by ε."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Norm, per_image, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@register
class Linf(Norm):
    """max |δᵢ|: every color value may move by ε."""

    name = "linf"
    also = ("l_infinity", "infinity", "max")
    title = "l_inf"
    usual = ("8/255", "4/255")
    unit = "fraction of the color range"
    meaning = "How far any pixel may move, as a fraction of the color range from black to white: 0.1 is 25.5 of 255 levels."
    direction = "the sign of the gradient"
    per_value = True
    polytope = True

    def diameter(self, images: Tensor) -> float:
        return 1.0

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Exact: float32 differences fit in float64."""
        return (candidates.double() - images.double()).flatten(1).abs().amax(dim=1)

    def box(self, images: Tensor, eps: float | Tensor) -> tuple[Tensor, Tensor]:
        """The largest float32 box inside {|x' − x| ≤ ε} ∩ [0, 1], so that clamping to it keeps ε to the last bit.

        x ± ε rounds to float32 and may step outside by one unit in the last place; such entries are moved back to the image.
        """
        eps = per_image(eps, images)
        exact = images.double()
        lower, upper = (exact - eps).float(), (exact + eps).float()
        lower = lower.nextafter(images).where(exact - lower.double() > eps, lower)
        upper = upper.nextafter(images).where(upper.double() - exact > eps, upper)
        return lower.clamp_(0, 1), upper.clamp_(0, 1)

    def rounded_box(self, images: Tensor, eps: float | Tensor) -> tuple[Tensor, Tensor]:
        """`box` in the arithmetic of float32, which may pass ε by a last bit: for training, which makes examples and counts
        none. eps: a number or (N, 1, 1, 1)."""
        return (images - eps).clamp_(min=0), (images + eps).clamp_(max=1)

    def into(self, box: tuple[Tensor, Tensor], candidates: Tensor) -> Tensor:
        """The nearest points of a box, as `box` returns it, to candidates (N, C, H, W)."""
        lower, upper = box
        return candidates.maximum(lower).minimum(upper)

    def project(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        return self.into(self.box(images, eps), candidates)

    def clip(self, delta: Tensor, radius: Tensor) -> Tensor:
        radius = per_image(radius, delta).float()
        return delta.maximum(-radius).minimum(radius)

    def random_point(self, image: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        return eps * image.new_empty(image.shape).uniform_(generator=generator).mul_(2).sub_(1)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def dual(self, gradient: Tensor) -> Tensor:
        values = gradient.flatten(-3)
        # The two differ by last bits, and runs were recorded with each: FMN asks about one function, DeepFool about several.
        return values.norm(p=1, dim=-1) if gradient.dim() > 4 else values.abs().sum(-1)

    def _nearest_levels(self, wanted: Tensor, clean: Tensor, reach: float) -> Tensor:
        """Each value takes the nearest of its levels within ε."""
        low, high = (clean - reach).ceil(), (clean + reach).floor()
        return clean.round().where(low > high, wanted.round().maximum(low).minimum(high))

    def too_far(self, saved: Tensor, images: Tensor, eps: float) -> Tensor:
        return (saved.double() - images.double()).abs() > eps
