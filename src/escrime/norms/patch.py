"""The side of the smallest square that holds every changed pixel: a patch of any colors, at any place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..budgets import LEVELS
from .base import per_image, register
from .l0 import L0

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@register
class Patch(L0):
    """The side in pixels of the smallest square around all changes, cut off where it is larger than the image. As in l0 a pixel
    counts once with all its channels, and goes to any color."""

    name = "patch"
    also = ("sticker", "square")
    eps_in_words = " pixels of a patch's side"
    usual = (5.0, 50.0)
    unit = "side of the patch in pixels"
    meaning = "The side, in pixels, of one square patch: inside of it pixels may change to any color, outside none does."
    direction = "the pixels of the window in which most is gained, each as far as the box lets it"
    counted = "side of a patch in whole pixels"

    def counts(self, eps: float) -> str:
        return f"{eps:g} × {eps:g} pixels"

    def diameter(self, images: Tensor) -> float:
        return float(max(images.shape[2:]))

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        changed = (candidates != images).any(1)
        return _span(changed.any(2)).maximum(_span(changed.any(1)))

    def project(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """The exact projection: of all windows the one in which most of the change lies, as far as the box lets it."""
        inside, eps = candidates.clamp(0, 1), per_image(eps, images)
        wanted = candidates.double()
        gain = (wanted - images).square().sum(1) - (wanted - inside).square().sum(1)
        kept = self.kept(gain, eps)
        near = (self.distance(inside, images) <= eps.flatten()).reshape(eps.shape)  # whatever rounding says of its gains
        return inside.where(kept | near, images)

    def kept(self, score: Tensor, count: Tensor) -> Tensor:
        """The window with the largest sum of scores (N, H, W), of side `count` (N, 1, 1, 1); bool (N, 1, H, W)."""
        sums = window_sums(score, count)
        return window_at(sums.flatten(1).argmax(1), score, count)

    def random_point(self, image: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        """A window anywhere, each channel of its pixels uniform in [−1, 1]."""
        return self.random_within(image, None, eps, generator)

    def random_within(self, image: Tensor, mask: Tensor | None, eps: Tensor, generator: torch.Generator) -> Tensor:
        """As `random_point`; of the windows that hold a pixel of the mask, and of that its pixels alone."""
        order = image.new_empty(image.shape[1:]).uniform_(generator=generator)
        delta: Tensor = image.new_empty(image.shape).uniform_(-1, 1, generator=generator)
        count = eps.reshape(1, 1, 1, 1)
        free = (order >= 0) if mask is None else mask
        meets = window_sums(free[None].double(), count)[0]
        place = (1 + order).where(meets > 0, 0.0).flatten().argmax()
        window = window_at(place[None], order[None], count)[0]
        return delta.where(window & free, 0.0)

    def _nearest_levels(self, wanted: Tensor, clean: Tensor, reach: float) -> Tensor:
        """As in l0, of a window; all that changes lies in one already, where `candidates` were within ε."""
        saved = clean.round()
        size = (wanted.round() - saved).square().sum(1)
        size = size.where((wanted != clean).any(1), 0.0)
        return wanted.round().where(self.kept(size, size.new_full((len(size), 1, 1, 1), reach / LEVELS)), saved)


def _span(lines: Tensor) -> Tensor:
    """From the first to the last of the lines that are true (N, L), float64 (N,); 0 where none is."""
    first = lines.int().argmax(1)
    last = lines.shape[1] - 1 - lines.flip(1).int().argmax(1)
    return (last - first + 1).where(lines.any(1), 0).double()


def window_sums(score: Tensor, count: Tensor) -> Tensor:
    """The sum of the scores in every window.

    Args:
        score: (N, H, W).
        count: The side of the windows, of each image as many pixels as (N, 1, 1, 1) holds whole ones; cut off where it is
            larger than the image.

    Returns:
        By the upper left corner, float64 (N, H, W); −inf where the window would not fit into the image.
    """
    from torch.nn.functional import pad  # which tensors come from: only here is there none to ask

    sums = pad(score.double(), (1, 0, 1, 0)).cumsum(1).cumsum(2)
    fits = []
    for axis, length in ((1, score.shape[1]), (2, score.shape[2])):
        start = count.new_ones(len(score), length, dtype=sums.dtype).cumsum(1).long() - 1
        end = start + count.flatten(1).long().clamp_max(length)
        fits.append(end <= length)
        shape = [len(score), 1, 1]
        shape[axis] = length
        size = list(sums.shape)
        size[axis] = length
        ends, starts = (at.reshape(shape).expand(size) for at in (end.clamp_max(length), start))
        sums = sums.gather(axis, ends) - sums.gather(axis, starts)
    return sums.where(fits[0][:, :, None] & fits[1][:, None, :], float("-inf"))


def window_at(place: Tensor, like: Tensor, count: Tensor) -> Tensor:
    """Windows as masks.

    Args:
        place: The upper left corner, row · W + column, int64 (N,).
        like: (N, H, W), of whose size the images are.
        count: The side, (N, 1, 1, 1), as in `window_sums`.

    Returns:
        bool (N, 1, H, W).
    """
    width, side = like.shape[2], count.flatten(1).long()
    within = []
    for corner, length in ((place // width, like.shape[1]), (place % width, width)):
        at = side.new_ones(len(like), length).cumsum(1) - 1 - corner[:, None]
        within.append((at >= 0) & (at < side))
    return within[0][:, None, :, None] & within[1][:, None, None, :]
