"""Σ |δᵢ|: all changes added up, so that a few large ones cost as much as many small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Norm, per_image, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHRUNK = (1.0, 1 - 1e-12, 1 - 1e-9)  # of ε, in turn, where the sum of what float32 holds is beyond it by a last bit


@register
class L1(Norm):
    """Σ |δᵢ|, of all color values of an image."""

    name = "l1"
    also = ("manhattan",)
    usual = (12.0, 255.0)
    unit = "l1 distance, colors from 0 to 1"
    meaning = (
        "How far the whole image may move in l1, the sum of the changes of all color values, each counted from 0 to 1: at 12, "
        "twelve values may go from black to white."
    )
    direction = "the steepest values of the gradient, each as far as the box lets it"
    polytope = True
    sparse = True

    def diameter(self, images: Tensor) -> float:
        return float(images.shape[1:].numel())

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        return (candidates.double() - images.double()).flatten(1).abs().sum(dim=1)

    def project(self, candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
        """The exact projection on ball ∩ [0, 1], not one after the other (Croce and Hein, 2021, Mind the box, section 3.1)."""
        eps = per_image(eps, images).flatten()
        inside = candidates.clamp(0, 1)
        far = (self.distance(inside, images) > eps).nonzero().flatten()
        if not len(far):
            return inside
        images, wanted, eps = images[far], candidates[far].double() - images[far].double(), eps[far]
        exact = images.double()
        room = (1 - exact).where(wanted > 0, exact)
        for shrink in SHRUNK:
            size = _shrunk(wanted.abs().flatten(1), room.flatten(1), eps * shrink).view_as(wanted)
            moved = (exact + size * wanted.sign()).float()
            # Rounded towards the image, no value goes farther than was meant.
            moved = moved.nextafter(images).where((moved.double() - exact).abs() > size, moved)
            beyond = self.distance(moved, images) > eps
            if not beyond.any():
                break
        moved = images.where(beyond[:, None, None, None], moved)
        return inside.index_copy(0, far, moved)

    def clip(self, delta: Tensor, radius: Tensor) -> Tensor:
        size = delta.abs().flatten(1).double()
        return (_shrunk(size, size, per_image(radius, delta).flatten()).view_as(delta) * delta.sign()).float()

    def random_point(self, image: Tensor, eps: Tensor, generator: torch.Generator) -> Tensor:
        """Exponential variates over the sum of one more of them are uniform in the simplex."""
        size = image.new_empty(image.numel() + 1).exponential_(generator=generator)
        sign = image.new_empty(image.shape).uniform_(-1, 1, generator=generator).sign()
        inner: Tensor = sign * (size[1:] / size.sum()).view_as(image)
        return eps * inner

    def steepest(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        at = flat.abs().argmax(1, keepdim=True)
        return flat.new_zeros(flat.shape).scatter(1, at, flat.gather(1, at).sign()).view_as(gradient)

    def climb(self, x: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """The steepest values go to the end of the box, one after the other, while the size lasts (Mind the box, proposition
        3.2)."""
        size = size * x.new_ones(len(x), 1, 1, 1)
        flat, start = (gradient * size.sign()).flatten(1), x.flatten(1)
        room = (1 - start).where(flat > 0, start).where(flat != 0, 0.0)
        order = flat.abs().argsort(dim=1, descending=True, stable=True)
        in_turn = room.gather(1, order)
        left = size.abs().flatten(1) - (in_turn.double().cumsum(1) - in_turn).float()  # when it is the turn of each
        moved = room.scatter(1, order, in_turn.minimum(left.clamp_min(0)))
        return (start + flat.sign() * moved).clamp(0, 1).view_as(x)

    def dual(self, gradient: Tensor) -> Tensor:
        return gradient.flatten(-3).abs().amax(-1)

    def reach(self, x: Tensor, gradient: Tensor, fall: Tensor) -> Tensor:
        """Exact: the steepest values go to the end of the box, one after the other."""
        flat, start = gradient.flatten(1), x.flatten(1)
        steep, order = flat.abs().double().sort(dim=1, descending=True)
        room = start.where(flat > 0, 1 - start).gather(1, order).double()
        gains, spent = (steep * room).cumsum(1), room.cumsum(1)
        last = (gains < fall[:, None]).sum(1, keepdim=True).clamp_max(flat.shape[1] - 1)
        beyond = (gains.gather(1, last) - fall[:, None]).clamp_min(0)
        return (spent.gather(1, last) - beyond / steep.gather(1, last).clamp_min(1e-30)).squeeze(1)

    def _nearest_levels(self, wanted: Tensor, clean: Tensor, reach: float) -> Tensor:
        """As in l2: values are rounded to the nearest level while the budget lasts, those first that lie nearest to it, and the
        others towards the image."""
        saved = clean.round()
        inner = (saved + (wanted - saved).trunc()).flatten(1)
        outer, start = wanted.round().flatten(1), clean.flatten(1)
        order = (wanted.flatten(1) - outer).abs().argsort(dim=1)
        cost = ((outer - start).abs() - (inner - start).abs()).gather(1, order).cumsum(1)
        left = reach - (inner - start).abs().sum(1, keepdim=True)
        affordable = cost.cummax(1).values <= left
        found = outer.where(affordable.scatter(1, order, affordable), inner)
        far = (found - start).abs().sum(1, keepdim=True) > reach
        return saved.flatten(1).where(far, found).view_as(clean)


def _shrunk(size: Tensor, room: Tensor, total: Tensor) -> Tensor:
    """The nearest sizes that sum to at most a total: min((size − λ)⁺, room), with the one λ ≥ 0 at which they just do.

    Their sum falls with λ along straight pieces: steeper by one value where λ reaches size − room and it begins to shrink,
    flatter where λ reaches its size and it is 0. So the sum at all these points is a cumulated one, and λ lies on one piece.

    Args:
        size: ≥ 0, float64 (N, D).
        room: The most that each may be, float64 (N, D).
        total: float64 (N,).

    Returns:
        float64 (N, D).
    """
    import torch  # which tensors come from: only here is there none to ask

    total = total[:, None]
    at, order = torch.cat([(size - room).clamp_min(0), size], dim=1).sort(dim=1)
    falling = (order < size.shape[1]).double().mul_(2).sub_(1).cumsum(1)  # how many values shrink behind each point
    before = falling.roll(1, 1)
    before[:, 0] = 0
    sums = size.minimum(room).sum(1, keepdim=True) - (before * at.diff(dim=1, prepend=at.new_zeros(len(at), 1))).cumsum(1)
    sums[:, -1] = 0  # whatever rounding left of it
    piece = (sums <= total).int().argmax(1, keepdim=True)  # the first point at which the sum is low enough
    slope = before.gather(1, piece).clamp_min(1)
    shift = (at.gather(1, piece) - (total - sums.gather(1, piece)) / slope).clamp_min(0)
    return (size - shift).clamp_min(0).minimum(room)
