"""Rotation, translation and scale: ε is the share of the full range that each may use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..budgets import eps_text, epsilon
from ..errors import EscrimeError
from .base import register
from .rendered import Rendered

if TYPE_CHECKING:
    from torch import Tensor

ANGLE, SHIFT, SCALE = 30.0, 0.1, 0.1  # the full range: degrees, shares of the side, and of the size
PADDINGS = ("zeros", "border", "reflection")  # what lies around an image, by the fifth parameter


@register
class Spatial(Rendered):
    """Rotation, translation and scale: ε is the share of the full range that each may use.

    Parameters (N, 5): the angle, to the left; the shifts to the right and down; the growth; each as a share of the full range,
    from −1 to 1, so that the largest of them is compared with ε as it is; and the index of a padding. Between pixels the image
    is interpolated linearly.

    Source of the range: Engstrom, Tran, Tsipras, Schmidt, Madry (2019), Exploring the landscape of spatial robustness,
    arXiv:1712.02779, section 3 (30° and 10 %).
    """

    name = "spatial"
    also = ("rotation", "rotations", "translation", "shift", "shifts", "scale", "affine", "geometric")
    eps_in_words = " of rotation, shift and scale"
    drawn = True
    usual = (1.0, 1.0)
    unit = "share of ±30° of rotation, ±10 % of shift and of scale"
    meaning = (
        "How far the image may be turned, shifted and scaled, as a share of the full range: at 1 by up to 30 degrees, by a "
        "tenth of its side and by a tenth of its size."
    )
    tried = "every point of the grid of rotations, shifts and sizes was tried, and a few between them"

    def epsilon(self, value: float | int | str) -> float:
        number = epsilon(value, math.inf)
        if number > 1:
            raise EscrimeError(
                f"ε = {value!r} is more than the full range of rotations, shifts and sizes, which is 1: ε counts no "
                f"degrees but the share of {ANGLE:g}° of rotation and {100 * SHIFT:g} % of shift and of size; use at most "
                "1, such as 0.5."
            )
        return number

    def said(self, eps: float) -> str:
        turned, shifted = f"{ANGLE * eps:.3g}°", f"{100 * SHIFT * eps:.3g} %"
        return f"ε = {eps_text(eps, False)}, turned by up to {turned}, shifted and scaled by up to {shifted}"

    def counts(self, eps: float) -> str:
        return f"±{ANGLE * eps:.3g}°, ±{100 * SHIFT * eps:.3g} %"

    @property
    def largest(self) -> float:
        return 1.0

    def size(self, parameters: Tensor) -> Tensor:
        """Of the identity 0, of the edge of the full range 1."""
        return parameters.double()[:, :4].abs().amax(1)

    def render(self, images: Tensor, parameters: Tensor) -> Tensor:
        from torch.nn.functional import grid_sample

        height, width = images.shape[-2:]
        turn, right, down, growth, padding = (
            column.to(images.device).reshape(-1, 1, 1) for column in parameters.double().unbind(1)
        )
        angle, factor = turn * (ANGLE * math.pi / 180), 1 + growth * SCALE
        row, column = _centers(height, images), _centers(width, images)
        # Where each pixel comes from: shifted back, turned back, scaled back, in pixels from the center.
        x, y = column.reshape(1, 1, -1) - right * (SHIFT * width), row.reshape(1, -1, 1) - down * (SHIFT * height)
        cosine, sine = angle.cos(), angle.sin()
        x, y = (cosine * x - sine * y) / factor, (sine * x + cosine * y) / factor
        places = _stacked(x * (2 / width), y * (2 / height))
        moved = images.clone()
        for index, mode in enumerate(PADDINGS):
            some = (padding.flatten() == index).nonzero().flatten()
            if len(some):
                moved[some] = grid_sample(images[some], places[some], padding_mode=mode, align_corners=False)
        still = self.size(parameters).to(images.device) == 0  # interpolation would change last bits
        return images.where(still.reshape(-1, 1, 1, 1), moved.clamp(0, 1))


def _centers(count: int, like: Tensor) -> Tensor:
    """The centers of so many pixels, from the middle of the image, float64."""
    import torch

    return torch.arange(count, dtype=torch.float64, device=like.device) - (count - 1) / 2


def _stacked(x: Tensor, y: Tensor) -> Tensor:
    """(N, H, W, 2) float32 of two that broadcast to (N, H, W)."""
    import torch

    return torch.stack(torch.broadcast_tensors(x, y), dim=-1).float()
