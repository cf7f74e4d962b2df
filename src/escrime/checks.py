"""What images and labels must be: anything else is refused, by what it is and what to do about it."""

import math

import torch
from torch import Tensor

from .errors import EscrimeError
from .no_class import NO_TARGET


def no_targets(labels: Tensor) -> Tensor:
    """The targets (N,) of an attack that only leads away from `labels` (N,)."""
    return torch.full_like(labels, NO_TARGET)


def check_images(images: Tensor) -> Tensor:
    """Return `images` if they are float32, (N, C, H, W), finite and in [0, 1]; otherwise refuse what they are instead."""
    if not isinstance(images, Tensor):
        raise EscrimeError(f"images are a {type(images).__name__}; give a float32 torch.Tensor (N, C, H, W) in [0, 1].")
    if images.dtype == torch.uint8:
        if images.dim() == 4 and _channels_last(images):
            raise EscrimeError("images are uint8 in 0–255 and (N, H, W, C); give images.permute(0, 3, 1, 2) / 255.")
        raise EscrimeError("images are uint8 in 0–255; divide by 255 and give float32 in [0, 1].")
    if images.dtype != torch.float32:
        raise EscrimeError(f"images are {images.dtype}; call .float() and give float32 in [0, 1].")
    if images.dim() != 4:
        hint = "; add the batch dimension with images[None]" if images.dim() == 3 else ""
        raise EscrimeError(f"images have shape {tuple(images.shape)}; escrime needs (N, C, H, W){hint}.")
    if _channels_last(images):
        raise EscrimeError(
            f"images have shape {tuple(images.shape)}, (N, H, W, C); escrime needs (N, C, H, W): give "
            "images.permute(0, 3, 1, 2), of a NumPy array images.transpose(0, 3, 1, 2). A model that takes (N, H, W, C) itself "
            "is adapted by lambda x: model(x.permute(0, 2, 3, 1))."
        )
    if images.numel() == 0:
        return images
    low, high = (float(v) for v in torch.aminmax(images))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise EscrimeError("images contain NaN or infinity; find the image with images.isfinite().all(dim=(1, 2, 3)).")
    if high > 1 or low < 0:
        if low >= 0 and high > 2:
            cause = "they look like 0–255 values: divide by 255"
        elif low < 0:
            cause = "they look normalized: give raw pixels and make normalization the model's first layer (escrime.Normalized)"
        else:
            cause = "clamp them, or check the augmentation that made them"
        raise EscrimeError(f"images lie in [{low:.3g}, {high:.3g}], not in [0, 1]; {cause}.")
    return images


def _channels_last(images: Tensor) -> bool:
    """Whether the colors come last: there are as few of them as pictures have, and first comes a side."""
    return images.shape[-1] in (1, 3, 4) and min(images.shape[1:3]) > 4


def check_labels(labels: Tensor, count: int, classes: int | None = None, what: str = "labels") -> Tensor:
    """Return `labels` as int64 (N,), one per image and within the model's classes."""
    try:
        labels = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise EscrimeError(f"{what} are a {type(labels).__name__}; give a tensor (N,) of one class index per image.") from None
    if labels.dim() != 1 or len(labels) != count:
        raise EscrimeError(f"{what} have shape {tuple(labels.shape)} for {count} images; give one class index per image.")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise EscrimeError(f"{what} are {labels.dtype}; give integer class indices.")
    labels = labels.long()
    if count and classes is not None:
        low, high = (int(v) for v in torch.aminmax(labels))
        if low < 0 or high >= classes:
            worst = low if low < 0 else high
            raise EscrimeError(f"{what} contain class {worst}, but the model has {classes} classes (0–{classes - 1}).")
    return labels
