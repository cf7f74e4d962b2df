"""The norms that perturbations are measured in, one class each: all that is special about a norm is in its class.

Nobody compares names: an attack asks its `geometry`, everybody else `norm(name)`, which refuses a name that it does not know.
A new norm is one class with `@register` before it. Images are float32 in [0, 1], shape (N, C, H, W). Nothing here waits for
torch, since a report, which needs the words alone, does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .budgets import LEVELS, SAME, epsilon
from .validation import check_choice

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEFAULT = "linf"  # the norm that is meant where none is named
FLOAT32 = 2**-23  # how far apart float32 numbers are at 1

NORMS: dict[str, Norm] = {}  # by name, in the order in which they are listed


def register(kind: type[Norm]) -> type[Norm]:
    """Make a norm known by its name to attacks, the command line, records and reports."""
    NORMS[kind.name] = kind()
    return kind


def norm(name: str) -> Norm:
    """The norm of this name; EscrimeError for a name that is none."""
    return NORMS[check_choice("norm", name, NORMS)]


def per_image(value: float | Tensor, like: Tensor) -> Tensor:
    """A number per image as a tensor that broadcasts over its values.

    Args:
        value: A number, or (N,).
        like: (N, C, H, W), whose device is used.

    Returns:
        float64 (N, 1, 1, 1).
    """
    import torch  # which tensors come from: only here is there none to ask

    value = torch.as_tensor(value, dtype=torch.float64, device=like.device)
    return value.expand(len(like)).reshape(-1, *[1] * (like.dim() - 1))


class Norm:
    """What attacks, records and reports need of a norm. ε is a number, or a tensor (N,) of one per image; δ = x' − x.

    - name: as users and records write it.
    - per_value: whether ε bounds every color value by itself, so that it is at most 1 and counts 8-bit levels.
    - polytope: whether the ball has corners, where a function that is nearly linear is largest.
    - unit, meaning, direction: for reports, what ε counts, on an axis and as a sentence, and what a single step follows.
    """

    name: str
    unit: str
    meaning: str
    direction = "the gradient"
    per_value = False
    polytope = False

    @property
    def title(self) -> str:
        """As it is written in a sentence."""
        return self.name

    @property
    def suffix(self) -> str:
        """Behind a name that stands for several norms: "-l2", and "" for the norm that is meant where none is named."""
        return "" if self.name == DEFAULT else f"-{self.name}"

    @property
    def in_words(self) -> str:
        """Behind an ε in a sentence: " in l2", and "" for the norm that is meant where none is named."""
        return "" if self.name == DEFAULT else f" in {self.name}"

    @property
    def largest(self) -> float:
        """The largest ε that means anything for images of any size."""
        return 1.0 if self.per_value else math.inf

    def epsilon(self, value: float | int | str) -> float:
        """ε as a float, as `budgets.epsilon` reads it; EscrimeError for what is no ε of this norm."""
        return epsilon(value, self.largest)

    def diameter(self, images: Tensor) -> float:
        """The largest distance between two images of the size of `images` (N, C, H, W): from black to white."""
        raise NotImplementedError

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """‖x' − x‖ of candidates x' and images x (N, C, H, W), float64 (N,). In float32 the difference is rounded: it may hide
        a last bit."""
        raise NotImplementedError

    def inside(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """Which candidates are valid adversarial images.

        Args:
            candidates: x', (N, C, H, W).
            images: x, (N, C, H, W).
            eps: ε, a number or (N,).

        Returns:
            Which are finite, in [0, 1] and within ε of their image, (N,) bool.
        """
        flat = candidates.flatten(1)
        in_box = (flat.isfinite() & (flat >= 0) & (flat <= 1)).all(dim=1)
        return in_box & (self.distance(candidates, images) <= per_image(eps, images).flatten())

    def box(self, images: Tensor, eps: float | Tensor) -> tuple[Tensor, Tensor] | None:
        """The lowest and highest points (N, C, H, W) of ball ∩ [0, 1], where that is a box and clamping to them is projecting;
        None elsewhere."""
        return None

    def project(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """Π(x'), the projection on the ε-ball around x ∩ [0, 1], which keeps both to the last bit.

        Args:
            candidates: x', float32 (N, C, H, W).
            images: x, float32 (N, C, H, W) in [0, 1].
            eps: ε, a number or (N,).

        Returns:
            float32 (N, C, H, W).
        """
        raise NotImplementedError

    def clip(self, delta: Tensor, radius: Tensor) -> Tensor:
        """The nearest δ of norm up to a radius, wherever x + δ lies.

        Args:
            delta: δ, float32 (N, C, H, W).
            radius: (N,).

        Returns:
            float32 (N, C, H, W), within the radius up to rounding.
        """
        raise NotImplementedError

    def random_point(self, image: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        """A δ drawn uniformly from the ε-ball.

        Args:
            image: One, (C, H, W), for its shape and device.
            eps: Its ε, a float32 tensor without dimensions.
            generator: Of the random numbers.

        Returns:
            float32 (C, H, W).
        """
        raise NotImplementedError

    def steepest(self, gradient: Tensor) -> Tensor:
        """The δ of norm 1 along which a linear function with this gradient (N, C, H, W) rises fastest: in l_inf sign(g), in l2
        g/‖g‖₂, 0 where the gradient is 0."""
        raise NotImplementedError

    def dual(self, gradient: Tensor) -> Tensor:
        """How much a linear function with this gradient (N, C, H, W) rises along `steepest`: its dual norm (N,), in l_inf ‖g‖₁,
        in l2 ‖g‖₂. Of several functions per image (N, M, C, H, W) it is (N, M)."""
        raise NotImplementedError

    def to_8_bits(self, candidates: Tensor, images: Tensor, eps: float) -> Tensor:
        """The images that a picture file can hold, every value a level k/255, nearest to `candidates` and within ε of `images`.

        Where no level lies within ε, a file can hold no more of an attack than the clean image of 8 bits.

        Args:
            candidates: The adversarial images, (N, C, H, W).
            images: The clean ones.
            eps: ε, counted as kept up to how exactly a float32 holds k/255.

        Returns:
            float32 (N, C, H, W).
        """
        clean, wanted = images.double() * LEVELS, candidates.double() * LEVELS
        reach = float(eps) * LEVELS + LEVELS * (SAME + FLOAT32)
        return self._nearest_levels(wanted, clean, reach).clamp(0, LEVELS).float() / LEVELS

    def _nearest_levels(self, wanted: Tensor, clean: Tensor, reach: float) -> Tensor:
        """For `to_8_bits`: whole levels near `wanted` and within `reach` of `clean`, all of them counted in levels."""
        raise NotImplementedError

    def too_far(self, saved: Tensor, images: Tensor, eps: float) -> Tensor:
        """Which values (N, C, H, W) of images of whole levels to put back by one, where they lie beyond ε by a last bit."""
        far = (self.distance(saved, images) > eps).reshape(-1, 1, 1, 1) & (saved != images)
        moved = (saved - images).abs().flatten(1)
        largest = moved.argmax(1, keepdim=True)  # one level of one value is more than enough
        return far & moved.new_zeros(moved.shape).scatter(1, largest, 1.0).bool().view_as(far)


@register
class Linf(Norm):
    """max |δᵢ|: every color value may move by ε."""

    name = "linf"
    title = "l_inf"
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


def _length(delta: Tensor) -> Tensor:
    """The l2 norm of the last three dimensions."""
    length: Tensor = delta.flatten(-3).norm(dim=-1)
    return length


@register
class L2(Norm):
    """√Σ δᵢ², of all color values of an image."""

    name = "l2"
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
