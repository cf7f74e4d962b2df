"""Which pixels an attack may change, and points drawn among those."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import EscrimeError

FORMS = "give one of (H, W) for all images or of (N, 1, H, W), true where a pixel may change"


def checked_mask(mask: Any, images: Tensor) -> Tensor | None:
    """The mask of a call, one of each image.

    Args:
        mask: (H, W) or (1, H, W) for all images, (N, 1, H, W) for one each; bool or numbers that are 0 or 1, as a tensor, an
            array or lists. None for none.
        images: float32 (N, C, H, W).

    Returns:
        bool (N, 1, H, W) on the device of the images, true where all channels of a pixel may change; None for none.

    Raises:
        EscrimeError: For any other shape, values between 0 and 1, and a mask that leaves an image no pixel.
    """
    if mask is None:
        return None
    try:
        mask = torch.as_tensor(mask.copy() if isinstance(mask, np.ndarray) else mask)  # torch takes no negative strides
    except (TypeError, ValueError, RuntimeError):
        raise EscrimeError(f"the mask is a {type(mask).__name__}; {FORMS}.") from None
    (count, _, *size), shape = images.shape, tuple(mask.shape)
    whole = mask.reshape(1, 1, *size) if shape in (tuple(size), (1, *size)) else mask
    if whole.dim() != 4 or whole.shape[1] != 1 or list(whole.shape[2:]) != size or len(whole) not in (1, count):
        hint = (
            "; of (N, H, W) it cannot be told from (C, H, W), so add a dimension with mask[:, None]" if mask.dim() == 3 else ""
        )
        raise EscrimeError(f"the mask has shape {shape} and the images {tuple(images.shape)}{hint}; {FORMS}.")
    if whole.dtype != torch.bool:
        wrong = whole[(whole != 0) & (whole != 1)]
        if len(wrong):
            raise EscrimeError(
                f"the mask holds {wrong[0].item():g}, and a pixel may change or not: only true and false, or 1 and 0, mean "
                "something; compare it with a threshold first, such as mask > 0.5."
            )
    allowed: Tensor = (whole != 0).to(images.device).expand(count, 1, *size)
    empty = (~allowed.flatten(1).any(1)).nonzero().flatten()
    if len(empty):
        raise EscrimeError(
            f"the mask leaves image {int(empty[0])} no pixel to change ({len(empty)} of {count} images); leave such images "
            "out, or turn the mask around where it marks what must stay."
        )
    return allowed


def confined(x: Tensor, images: Tensor, mask: Tensor | None) -> Tensor:
    """x within the mask and the images outside of it, to the last bit.

    Args:
        x: (N, C, H, W).
        images: (N, C, H, W).
        mask: bool (N, 1, H, W); None for x as it is.

    Returns:
        (N, C, H, W).
    """
    return x if mask is None else torch.where(mask, x, images)


def inside_only(gradient: Tensor, mask: Tensor | None) -> Tensor:
    """The gradient, 0 outside of the mask.

    Args:
        gradient: Of one function, (N, C, H, W), or of M, (N, M, C, H, W).
        mask: bool (N, 1, H, W); None for the gradient as it is.

    Returns:
        Of the shape of the gradient.
    """
    if mask is None:
        return gradient
    return torch.where(mask if gradient.dim() == 4 else mask[:, None], gradient, 0.0)


def bounding_boxes(mask: Tensor) -> Tensor:
    """The smallest rectangle around each mask.

    Args:
        mask: bool (N, 1, H, W), none of them empty.

    Returns:
        Top, left, height and width in pixels, int64 (N, 4).
    """
    lines = [mask[:, 0].any(2), mask[:, 0].any(1)]
    firsts = [line.int().argmax(1) for line in lines]
    lasts = [line.shape[1] - 1 - line.flip(1).int().argmax(1) for line in lines]
    sizes = [last - first + 1 for first, last in zip(firsts, lasts, strict=True)]
    return torch.stack([*firsts, *sizes], dim=1)
