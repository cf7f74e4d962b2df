"""The ground everything stands on: ε, the l_p ball ∩ the pixel box, projection, distances, and what an image is.

Images are float32 in [0, 1], shape (N, C, H, W). ε is a fraction of the color range.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .budgets import LEVELS, NORMS, SAME, same
from .errors import EscrimeError, nearest
from .numerals import number_of, shown

LONGEST = 100  # characters of an ε


def epsilon(value: float | int | str, norm: str = "linf") -> float:
    """Return ε as a float from a number or a fraction written as text, such as 0.03 or "8/255".

    Errors: EscrimeError for anything that is not a finite number ≥ 0, and for l_inf above 1 (the whole color range).
    """
    if isinstance(value, bool):
        raise EscrimeError(f"ε = {value!r} is not a number; write 0.03 or '8/255'.")
    if isinstance(value, str) and len(value) > LONGEST:
        raise EscrimeError(f"ε = '{value[:20]}…' is {len(value):,} characters long; write 0.03 or '8/255'.")
    try:
        number = number_of(value.replace(" ", "")) if isinstance(value, str) else float(value)
    except ZeroDivisionError:
        raise EscrimeError(f"ε = {value!r} divides by zero; write a fraction of the color range such as '8/255'.") from None
    except OverflowError:
        raise EscrimeError(f"ε = {shown(value)} is larger than any number here; write 0.03 or '8/255'.") from None
    except (ValueError, TypeError):
        raise EscrimeError(f"ε = {value!r} is not a number; write 0.03 or '8/255'.") from None
    if not math.isfinite(number):
        raise EscrimeError(f"ε = {value!r} is not finite; write 0.03 or '8/255'.")
    if number < 0:
        raise EscrimeError(f"ε = {value!r} is negative; ε is a distance, so write {abs(number):g}.")
    if norm == "linf" and number > 1:
        raise EscrimeError(
            f"ε = {value!r} is larger than the whole color range [0, 1]; if it counts 8-bit levels, write '{number:g}/255'."
        )
    return number


def distinct(epsilons: Iterable[float]) -> list[float]:
    """Each ε once, the first of those that are the same, in the order given (see `budgets`).

    Errors: EscrimeError for an ε above 0 and below 1e-9, which could not be told from 0.
    """
    kept: list[float] = []
    for eps in epsilons:
        if 0 < eps < 1e-9:
            raise EscrimeError(f"ε = {eps!r} is too small to be told from 0; use 0, or at least 1e-9.")
        if not any(same(eps, other) for other in kept):
            kept.append(eps)
    return kept


def check_norm(norm: str) -> str:
    """Return `norm` if escrime knows it."""
    if norm not in NORMS:
        raise EscrimeError(f"norm {norm!r} is unknown; use one of {', '.join(NORMS)}.{nearest(norm, NORMS)}")
    return norm


def check_images(images: Tensor) -> Tensor:
    """Return `images` if they are float32, (N, C, H, W), finite and in [0, 1]; otherwise say what they are instead."""
    if not isinstance(images, Tensor):
        raise EscrimeError(f"images are a {type(images).__name__}; give a float32 torch.Tensor (N, C, H, W) in [0, 1].")
    if images.dtype == torch.uint8:
        raise EscrimeError("images are uint8 in 0–255; divide by 255 and give float32 in [0, 1].")
    if images.dtype != torch.float32:
        raise EscrimeError(f"images are {images.dtype}; call .float() and give float32 in [0, 1].")
    if images.dim() != 4:
        hint = "; add the batch dimension with images[None]" if images.dim() == 3 else ""
        raise EscrimeError(f"images have shape {tuple(images.shape)}; escrime needs (N, C, H, W){hint}.")
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


def per_image(value: float | Tensor, like: Tensor) -> Tensor:
    """`value` as a float64 tensor (N, 1, 1, 1) on the device of `like` (N, C, H, W), from a number or (N,)."""
    value = torch.as_tensor(value, dtype=torch.float64, device=like.device)
    return value.expand(len(like)).reshape(-1, *[1] * (like.dim() - 1))


def linf_bounds(images: Tensor, eps: float | Tensor) -> tuple[Tensor, Tensor]:
    """The largest float32 box inside {|x' - x| ≤ ε} ∩ [0, 1], so that clamping to it keeps ε to the last bit.

    Shapes: images (N, C, H, W), eps a number or (N,). x ± ε rounds to float32 and may step outside by one unit in the
    last place; such entries are moved back towards the image.
    """
    eps = per_image(eps, images)
    exact = images.double()
    lower, upper = (exact - eps).float(), (exact + eps).float()
    lower = torch.where(exact - lower.double() > eps, torch.nextafter(lower, images), lower)
    upper = torch.where(upper.double() - exact > eps, torch.nextafter(upper, images), upper)
    return lower.clamp_(0, 1), upper.clamp_(0, 1)


def project_l2(candidates: Tensor, images: Tensor, eps: float | Tensor) -> Tensor:
    """Project `candidates` on {‖x' - x‖₂ ≤ ε} ∩ [0, 1], ε kept in float64 whatever float32 rounding does."""
    eps = per_image(eps, images)
    candidates = candidates.clamp(0, 1)
    for shrink in (1.0, 1 - 1e-6, 1 - 1e-5, 1 - 1e-4):
        delta = candidates.double() - images.double()  # the difference in float32 is rounded: it may hide a last bit
        norm = delta.flatten(1).norm(dim=1).reshape(eps.shape)
        outside = norm > eps
        if not outside.any():
            return candidates
        scale = torch.where(outside, eps / norm.clamp_min(1e-300) * shrink, torch.ones_like(norm))
        candidates = torch.where(outside, (images.double() + delta * scale).float(), candidates)
    return torch.where(distance(candidates, images, "l2").reshape(eps.shape) > eps, images, candidates)


def project(candidates: Tensor, images: Tensor, eps: float | Tensor, norm: str = "linf") -> Tensor:
    """Project on the ε-ball around `images` ∩ the box [0, 1]. The result keeps both to the last bit."""
    if norm == "l2":
        return project_l2(candidates, images, eps)
    lower, upper = linf_bounds(images, eps)
    return torch.minimum(torch.maximum(candidates, lower), upper)


def to_8_bits(candidates: Tensor, images: Tensor, eps: float, norm: str = "linf") -> Tensor:
    """The images that a picture file can hold, every value a level k/255, nearest to `candidates` and within ε of `images`.

    In l_inf each value takes the nearest of its levels within ε. In l2 it is rounded to the nearest level while the budget
    lasts, those first that lie nearest to it, and the others towards the image. Where no level lies within ε, a file can
    hold no more of an attack than the clean image of 8 bits. Shapes (N, C, H, W). ε counts as kept up to how exactly a
    float32 holds k/255.
    """
    clean, wanted = images.double() * LEVELS, candidates.double() * LEVELS
    reach = float(eps) * LEVELS + LEVELS * (SAME + torch.finfo(torch.float32).eps)
    if norm == "linf":
        low, high = (clean - reach).ceil(), (clean + reach).floor()
        found = torch.where(low > high, clean.round(), torch.minimum(torch.maximum(wanted.round(), low), high))
    else:
        saved = clean.round()
        inner = (saved + (wanted - saved).trunc()).flatten(1)
        outer, start = wanted.round().flatten(1), clean.flatten(1)
        order = (wanted.flatten(1) - outer).abs().argsort(dim=1)
        cost = ((outer - start).square() - (inner - start).square()).gather(1, order).cumsum(1)
        left = reach**2 - (inner - start).square().sum(1, keepdim=True)
        taken = torch.zeros_like(cost, dtype=torch.bool).scatter(1, order, cost.cummax(1).values <= left)
        found = torch.where(taken, outer, inner)
        far = (found - start).norm(dim=1, keepdim=True) > reach
        found = torch.where(far, saved.flatten(1), found).view_as(clean)
    return found.clamp(0, LEVELS).float() / LEVELS


def distance(candidates: Tensor, images: Tensor, norm: str = "linf") -> Tensor:
    """‖x' - x‖ per image in float64, shape (N,): exact for l_inf, since float32 differences fit in float64."""
    delta = (candidates.double() - images.double()).flatten(1)
    return delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)


def inside(candidates: Tensor, images: Tensor, eps: float | Tensor, norm: str = "linf") -> Tensor:
    """Which candidates are finite, in [0, 1] and within ε of their image, shape (N,) bool."""
    flat = candidates.flatten(1)
    in_box = (flat.isfinite() & (flat >= 0) & (flat <= 1)).all(dim=1)
    return in_box & (distance(candidates, images, norm) <= per_image(eps, images).flatten())
