"""What a norm is: all that attacks, records and reports ask of one, and the norms by their names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..budgets import LEVELS, SAME, eps_text, epsilon
from ..errors import EscrimeError, nearest
from ..validation import check_choice

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
    if not isinstance(name, str) or name not in NORMS:
        check_choice("norm", name, NORMS, hint=meant(name))
    return NORMS[name]


def meant(name: object, more: Sequence[str] = ()) -> str:
    """The hint for a name that is no norm's: which one it may be, by its own name and what else it is called; more: choices
    beside the norms."""
    return nearest(name, [*NORMS, *more], {other: own.name for own in NORMS.values() for other in own.also})


def check_works_in(who: str, able: Sequence[str], name: str) -> None:
    """Raise EscrimeError where the attack `who`, which works in the norms `able`, does not in the one of that name."""
    if name not in able:
        titles = " and ".join(NORMS[other].title for other in able)
        raise EscrimeError(f"{who} works in {titles} only, not in {name}; leave it out, or use norm {able[0]}.")


def refuse_mask(geometry: Norm, who: str) -> None:
    """Raise EscrimeError where a norm knows no mask, since its images are rendered whole. who: what the sentence is about."""
    if geometry.rendered:
        raise EscrimeError(f"{who} changes the whole image, so it takes no mask; leave out one of the two.")


def in_box(candidates: Tensor) -> Tensor:
    """Which of the images (N, C, H, W) are finite and in [0, 1], (N,) bool."""
    flat = candidates.flatten(1)
    return (flat.isfinite() & (flat >= 0) & (flat <= 1)).all(dim=1)


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


def free_to_fall(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient (N, C, H, W) of a function, 0 where the box keeps x (N, C, H, W) from going down it."""
    return gradient.where((x > 0).where(gradient > 0, x < 1), 0.0)


class Norm:
    """What attacks, records and reports need of a norm. ε is a number, or a tensor (N,) of one per image; δ = x' − x.

    - name: as users and records write it.
    - also: what else people call it.
    - per_value: whether ε bounds every color value by itself, so that it is at most 1 and counts 8-bit levels.
    - polytope: whether the ball has corners, where a function that is nearly linear is largest.
    - sparse: whether moving a few values far costs as much as moving many a little, so that the best step moves few.
    - grain: the least that two distances differ by, 1 where values are counted; 0 where distances are lengths, which makes the
      ball convex.
    - rendered: whether it is no ball but a rule that makes images from parameters, see rendered.py: no gradient, no projection.
      drawn: whether its images hang on a draw, some of them at least, so that another seed makes others.
      tried: what an attack that exhausts it has tried, as a sentence.
    - attacker: whether anybody looks for the images that mislead the model.
    - usual: the ε that is usually asked for, of small images (up to 64 pixels, as CIFAR-10's) and of larger ones (ImageNet's).
    - unit, meaning, direction: for reports, what ε counts, on an axis and as a sentence, and what a single step follows.
    """

    name: str
    unit: str
    meaning: str
    direction = "the gradient"
    also: tuple[str, ...] = ()
    per_value = False
    polytope = False
    sparse = False
    grain = 0.0
    rendered = False
    drawn = False
    attacker = True
    tried = "all of them were tried"
    usual: tuple[float | str, float | str] = (0.0, 0.0)

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
        """Behind a name in a sentence: " in l2", and "" for the norm that is meant where none is named."""
        return "" if self.name == DEFAULT else f" in {self.title}"

    @property
    def eps_in_words(self) -> str:
        """The same behind an ε, which may be a number of something."""
        return self.in_words

    def said(self, eps: float) -> str:
        """ε as a sentence has it: "ε = 4/255", "ε = 0.5 in l2", "corruption severity 3 of 5"."""
        return f"ε = {eps_text(eps, self.per_value)}{self.eps_in_words}"

    def counts(self, eps: float) -> str:
        """What a bare ε of this norm counts, where a reader cannot know, in a word or two: "±30°, ±10 %"."""
        return ""

    def named(self, eps: float) -> str:
        """The norm with its ε, as a table has it: "l_inf, ε = 4/255", "spatial, ε = 1 (±30°, ±10 %)"."""
        counts = self.counts(eps)
        return f"{self.title}, ε = {eps_text(eps, self.per_value)}" + (f" ({counts})" if counts else "")

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
        return in_box(candidates) & (self.distance(candidates, images) <= per_image(eps, images).flatten())

    def keeps(
        self, candidates: Tensor, images: Tensor, eps: float | Tensor, parameters: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is recorded of candidates.

        Args:
            candidates: x', (N, C, H, W).
            images: x, (N, C, H, W).
            eps: ε, a number or (N,).
            parameters: What the candidates were made from, (N, P), where the attack says so (`Outcome.parameters`).

        Returns:
            Which keep to ε, (N,) bool, and how far each is from its image, in the units of ε, float64 (N,).
        """
        return self.inside(candidates, images, eps), self.distance(candidates, images)

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

    def steered(self, candidates: Tensor, images: Tensor, eps: float | Tensor, slope: Tensor) -> Tensor:
        """As `project`, where what is near is good enough; in l0 the pixels kept are those that gain most.

        Args:
            candidates: x', float32 (N, C, H, W).
            images: x, float32 (N, C, H, W) in [0, 1].
            eps: ε, a number or (N,).
            slope: Of the function that is to rise, (N, C, H, W).

        Returns:
            float32 (N, C, H, W).
        """
        return self.project(candidates, images, eps)

    def render(self, images: Tensor, parameters: Tensor) -> Tensor:
        """In a rendered norm what parameters make of images, see rendered.py."""
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

    def random_within(self, image: Tensor, mask: Tensor | None, eps: Tensor, generator: torch.Generator) -> Tensor:
        """As `random_point`, of the ball of those pixels alone that may change: of the image that they make up.

        Args:
            image: As there.
            mask: Which pixels, bool (H, W); None for all.
            eps: As there.
            generator: As there.

        Returns:
            float32 (C, H, W), 0 outside of the mask.
        """
        if mask is None:
            return self.random_point(image, eps, generator)
        delta = image.new_zeros(image.shape)
        delta[:, mask] = self.random_point(image[:, None, mask], eps, generator)[:, 0]
        return delta

    def steepest(self, gradient: Tensor) -> Tensor:
        """The δ of norm 1 along which a linear function with this gradient (N, C, H, W) rises fastest: in l_inf sign(g), in l2
        g/‖g‖₂, 0 where the gradient is 0."""
        raise NotImplementedError

    def climb(self, x: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """A step up a linear function: where it is largest in [0, 1] within `size` of x, or where the box cuts `steepest` off.

        Args:
            x: float32 (N, C, H, W) in [0, 1].
            gradient: Of the function, (N, C, H, W).
            size: The norm of the step, a number or (N, 1, 1, 1); negative to go down.

        Returns:
            float32 (N, C, H, W), which rounding may put beyond `size` by a last bit.
        """
        return (x + size * self.steepest(gradient)).clamp_(0, 1)

    def dual(self, gradient: Tensor) -> Tensor:
        """How much a linear function with this gradient (N, C, H, W) rises along `steepest`: its dual norm (N,), in l_inf ‖g‖₁,
        in l2 ‖g‖₂. Of several functions per image (N, M, C, H, W) it is (N, M)."""
        raise NotImplementedError

    def reach(self, x: Tensor, gradient: Tensor, fall: Tensor) -> Tensor:
        """How far x has to go for a linear function to fall by so much, where values at the end of the box stay there.

        Args:
            x: float32 (N, C, H, W) in [0, 1].
            gradient: Of the function, (N, C, H, W).
            fall: ≥ 0, (N,).

        Returns:
            float64 (N,); a lower bound where the box cuts off the values that move.
        """
        return fall.double() / self.dual(free_to_fall(x, gradient)).double().clamp_min(1e-30)

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
