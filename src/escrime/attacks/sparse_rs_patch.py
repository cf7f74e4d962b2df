"""What Sparse-RS proposes for a patch. Croce, Andriushchenko, Singh, Flammarion, Hein (2022), Sparse-RS, section 5.1:
image- and location-specific patches."""

import torch
from torch import Tensor

from ..norms import per_image
from ..norms.patch import window_at, window_sums
from ..randomness import derive, fractions
from .core.iterative import Rows, State

# After how many of 10 000 proposals the share of the recolored pixels is alpha over so much (the authors' code).
SCHEDULE = {0: 1, 10: 2, 50: 4, 200: 8, 500: 16, 1000: 32, 4000: 64, 8000: 128}
FRESH = 0.2  # of the queries, at first, that ask about patches of other colors at other places
FAR = 0.75  # of the image's side, how far the patch may move at first; ever less, down to not at all
EVERY, LATER = 5, 1000  # proposals between two moves; so many more after each LATER
ORDER, COLORS, OFFSET, BLOCK = 1, 2, 3, 4  # what random numbers are for


def start(rows: Rows, keys: Tensor) -> State:
    """Where jobs begin: a fresh patch."""
    place = _drawn_place(rows, _order(keys, rows))
    return {"x": _fresh(rows, place, keys), "place": place, "from": place}


def change(rows: Rows, state: State, share: Tensor, keys: Tensor, proposals: Tensor, queries: int) -> Tensor:
    """The next iterate: most often a square of the patch gets another color, now and then the patch moves.

    Args:
        rows: The images.
        state: Of the jobs; "place", where the window of the iterate is, is written here.
        share: Of the patch's pixels, how many get another color, (N,).
        keys: Of the randomness, (N,).
        proposals: How many were made before this one and with it, (N,).
        queries: That are made in all.

    Returns:
        (N, C, H, W).
    """
    best = state["best"]
    # The place of the best iterate is that of the last one where that was accepted.
    accepted = (best == state["x"]).flatten(1).all(1)
    state["from"] = place = state["place"].where(accepted, state["from"])
    order = _order(keys, rows)
    moved = _moved(rows, place, order, 1 - proposals / queries)
    moves = (proposals % (EVERY * (1 + proposals // LATER)) == 0) & (moved != place)
    other, fresh = _drawn_place(rows, order), proposals < FRESH * queries
    state["place"] = other.where(fresh, moved.where(moves, place))
    shifted = _shifted(best, place, moved).where(_window(moved, rows), rows.images)
    x = torch.where(moves[:, None, None, None], shifted, _recolored(rows, best, place, share, order, keys))
    return torch.where(fresh[:, None, None, None], _fresh(rows, other, keys), x)


def _drawn_place(rows: Rows, order: Tensor) -> Tensor:
    """A place (N,) of those whose window holds a pixel of the mask."""
    return order.where((_sums(rows) > 0).flatten(1), 0.0).argmax(1)


def _fresh(rows: Rows, place: Tensor, keys: Tensor) -> Tensor:
    """The images with a patch at `place` (N,), of blocks in random corners of the color cube; their side is random too."""
    n, channels, height, width = rows.images.shape
    numbers = fractions(derive(keys, COLORS), channels * height * width).view(n, channels, height, width)
    block = 1 + (fractions(derive(keys, BLOCK), 1)[:, 0] * rows.eps).long()
    down, right = ((torch.arange(length, device=place.device) // block[:, None]) for length in (height, width))
    numbers = numbers.gather(2, down.view(n, 1, height, 1).expand_as(numbers)).gather(
        3, right.view(n, 1, 1, width).expand_as(numbers)
    )
    return (numbers < 0.5).float().where(_window(place, rows), rows.images)


def _moved(rows: Rows, place: Tensor, order: Tensor, left: Tensor) -> Tensor:
    """Another place, of those that hold a pixel of the mask and lie within FAR of the side times `left` (N,) of the first."""
    height, width = rows.images.shape[2:]
    near = _sums(rows) > 0
    for axis, (at, length) in enumerate(((place // width, height), (place % width, width))):
        away = (torch.arange(length, device=place.device) - at[:, None]).abs() <= (FAR * length * left).long()[:, None]
        near = near & (away[:, :, None] if axis == 0 else away[:, None, :])
    near = near.flatten(1).scatter(1, place[:, None], False)
    return torch.where(near.any(1), order.where(near, 0.0).argmax(1), place)


def _recolored(rows: Rows, best: Tensor, place: Tensor, share: Tensor, order: Tensor, keys: Tensor) -> Tensor:
    """`best` with a square of the patch, around a pixel that may change, in another corner of the color cube."""
    n, channels, height, width = best.shape
    window = _window(place, rows)
    free = window if rows.mask is None else window & rows.mask
    center = order.where(free.flatten(1), 0.0).argmax(1)
    side = (share.sqrt() * rows.eps).long().clamp_min(1)
    offset = (fractions(derive(keys, OFFSET), 2) * side[:, None]).long()
    square = window
    for axis, (at, length) in enumerate(((center // width, height), (center % width, width))):
        first = (at - offset[:, axis])[:, None]
        line = torch.arange(length, device=place.device)
        within = (line >= first) & (line < first + side[:, None])
        square = square & (within[:, None, :, None] if axis == 0 else within[:, None, None, :])
    color = (fractions(derive(keys, COLORS), channels) < 0.5).float().view(n, channels, 1, 1)
    there = best.flatten(2).gather(2, center.view(n, 1, 1).expand(n, channels, 1)).unsqueeze(3)
    color = torch.where((color == there).all(1, keepdim=True), 1 - color, color)  # no query about what is there already
    return color.where(square, best)


def _shifted(best: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """`best` so that what is at the places `old` (N,) comes to lie at `new`."""
    n, channels, height, width = best.shape
    down, right = new // width - old // width, new % width - old % width
    rows = (torch.arange(height, device=old.device) - down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=old.device) - right[:, None]).clamp(0, width - 1)
    return best.gather(2, rows.view(n, 1, height, 1).expand_as(best)).gather(3, columns.view(n, 1, 1, width).expand_as(best))


def _order(keys: Tensor, rows: Rows) -> Tensor:
    """A number above 0 for every place, (N, H·W)."""
    return 1 + fractions(derive(keys, ORDER), rows.images[0, 0].numel())


def _sums(rows: Rows) -> Tensor:
    """How many pixels that may change lie in the window at each place, (N, H, W); −inf where there is none."""
    free = torch.ones_like(rows.images[:, 0]) if rows.mask is None else rows.mask[:, 0]
    return window_sums(free, per_image(rows.eps, rows.images))


def _window(place: Tensor, rows: Rows) -> Tensor:
    """The windows at places (N,) as masks, bool (N, 1, H, W)."""
    return window_at(place, rows.images[:, 0], per_image(rows.eps, rows.images))
