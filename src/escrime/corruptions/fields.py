"""Random fields, one per image and drawn from its key alone: the same in any batch."""

import torch
from torch import Tensor


def normal(keys: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers, float32 (N, *shape)."""
    return _drawn(keys, shape, torch.randn)


def uniform(keys: Tensor, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 (N, *shape)."""
    return _drawn(keys, shape, torch.rand)


def _drawn(keys: Tensor, shape: tuple[int, ...], draw) -> Tensor:  # type: ignore[no-untyped-def]
    drawn, source = torch.empty(len(keys), *shape, dtype=torch.float32), torch.Generator()
    for row, key in zip(drawn, keys.tolist(), strict=True):
        draw(shape, generator=source.manual_seed(key), dtype=torch.float32, out=row)
    return drawn


def plasma(keys: Tensor, height: int, width: int, decay: float) -> Tensor:
    """Clouds by the diamond-square algorithm on a torus, whose noise shrinks by decay² from each scale to the next finer one.

    Args:
        keys: (N,).
        height: In px.
        width: In px.
        decay: Larger for smoother clouds.

    Returns:
        float32 (N, height, width), the corner of a square of a power of two that spans [0, 1].
    """
    side = 1 << (max(height, width, 2) - 1).bit_length()
    noise = uniform(keys, side * side).mul_(2).sub_(1)
    field, used, step, reach = noise.new_zeros(len(keys), side, side), 0, side, 1.0

    def moved(total: Tensor) -> Tensor:
        """The mean of four neighbors, given their sum, and noise."""
        nonlocal used
        count = total[0].numel()
        drawn = noise[:, used : used + count].view_as(total)
        used += count
        return total / 4 + drawn * reach

    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        across = corners + corners.roll(-1, 1)
        field[:, half::step, half::step] = moved(across + across.roll(-1, 2))
        centers = field[:, half::step, half::step]
        field[:, ::step, half::step] = moved((centers + centers.roll(1, 1)) + (corners + corners.roll(-1, 2)))
        field[:, half::step, ::step] = moved((centers + centers.roll(1, 2)) + across)
        step, reach = half, reach / decay**2
    flat = field.view(len(keys), -1)
    field -= flat.amin(1).view(-1, 1, 1)
    field /= flat.amax(1).view(-1, 1, 1)
    return field[:, :height, :width]
