"""A patch pasted into images, at a place, at an angle and in a size that are drawn for each of them."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ...norms import per_image
from ...norms.patch import window_sums
from ...randomness import fractions

EDGE = 1e-6  # of half a window's side, by which rounding may put the center of a pixel outside of the patch


def pasted(patch: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None, angle: float, least: float) -> Tensor:
    """The images with the patch in a window of side ε, turned and made smaller until it fits; differentiable in the patch.

    The window is drawn among those that hold most of the mask (all, without one), the angle and the size uniformly.

    Args:
        patch: Of each image, (N, C, h, w) in [0, 1].
        images: float32 (N, C, H, W).
        eps: The side of the window in pixels, (N,), cut off where it is larger than the image.
        keys: Of the place, angle and size of each, int64 (N,).
        mask: Which pixels may change, bool (N, 1, H, W); None for all.
        angle: The largest angle, to either side, in degrees.
        least: The smallest size, as a share of the largest that fits.

    Returns:
        float32 (N, C, H, W); outside of the patch the images to the last bit.
    """
    n, _, height, width = images.shape
    place, turn, size = fractions(keys.to(images.device), 3).double().unbind(1)
    top, left = _window(place, images, eps, mask)
    theta = (2 * turn - 1) * math.radians(angle)
    cosine, sine = theta.cos().view(n, 1, 1), theta.sin().view(n, 1, 1)
    reach = (least + (1 - least) * size).view(n, 1, 1) / (cosine.abs() + sine.abs())
    # From −1 to 1 across the window.
    y = _across(top, eps, height).view(n, height, 1)
    x = _across(left, eps, width).view(n, 1, width)
    own = torch.stack([(cosine * x + sine * y) / reach, (cosine * y - sine * x) / reach], dim=-1)
    inside = (y.abs() < 1) & (x.abs() < 1) & (own.abs() <= 1 + EDGE).all(-1)
    covered = inside[:, None] if mask is None else inside[:, None] & mask
    drawn = grid_sample(patch, own.to(patch), padding_mode="border", align_corners=False).clamp(0, 1)
    return drawn.where(covered, images)


def pulled(
    gradient: Tensor, patch: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None, angle: float, least: float
) -> Tensor:
    """The gradient with respect to the patch.

    Args:
        gradient: With respect to what `pasted` returned for the same arguments, (N, C, H, W).
        patch: As there.
        images: As there.
        eps: As there.
        keys: As there.
        mask: As there.
        angle: As there.
        least: As there.

    Returns:
        Of the shape of the patch.
    """
    own = patch.detach().clone().requires_grad_()
    with torch.enable_grad():
        moved = pasted(own, images, eps, keys, mask, angle, least)
    (found,) = torch.autograd.grad(moved, own, gradient)
    return found


def blank(images: Tensor, eps: float) -> Tensor:
    """A gray patch of side ε, cut off where it is larger than the images (N, C, H, W); (C, h, w)."""
    _, channels, height, width = images.shape
    return torch.full((channels, min(int(eps), height), min(int(eps), width)), 0.5, dtype=images.dtype, device=images.device)


def _window(drawn: Tensor, images: Tensor, eps: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The upper left corners (N,) of windows: of those that hold most of the mask that at the share `drawn` (N,) of them."""
    free = images.new_ones(len(images), *images.shape[2:]) if mask is None else mask[:, 0]
    sums = window_sums(free, per_image(eps, images)).flatten(1)
    ranks = (sums == sums.amax(1, keepdim=True)).cumsum(1)
    place = (ranks > (drawn * ranks[:, -1]).long()[:, None]).int().argmax(1)
    return place // images.shape[3], place % images.shape[3]


def _across(corner: Tensor, eps: Tensor, length: int) -> Tensor:
    """Where the centers of `length` pixels lie across windows that begin at `corner` (N,), (N, length)."""
    side = eps.double().clamp_max(length)[:, None]
    centers = torch.arange(length, device=corner.device) + 0.5
    return 2 * (centers - corner[:, None]) / side - 1
