"""Do the model's gradients lead anywhere? Measured on a few images, on the model as it is.

Carlini et al. (2019), On evaluating adversarial robustness, section 4; Athalye et al. (2018), Obfuscated gradients.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...attacks.gradients import draw_keys, finite, loss_gradient
from ...attacks.losses import ce, margin
from ...models.running import Batches, check_logits, differentiable, network_batch, no_trace, ordinary, passes_per_image
from ...randomness import as_keys, derive, row_keys, uniform_noise
from .finding import Finding

REACH = 0.02  # how much of the margin the finite difference asks about
INWARD = 0.01  # how far from the faces of the box the image is moved to see what they hide
AGREES = (0.5, 2.0)  # measured over predicted change, where a gradient is right
LITTLE, MUCH = 0.05, 0.5  # shares of the images from which a fault counts
STEEP = 10.0  # a margin that no longer saturates cross-entropy


@dataclass(frozen=True)
class Gradients:
    """Per image, (N,): zero (the margin's gradient vanishes), at_bounds (the share of it that vanishes only because pixels
    are at 0 or 1, as seen from a little inside the box), saturated (only that of cross-entropy vanishes), not_finite, ratio
    (the margin's change along its gradient, measured over predicted; NaN without a gradient), turn (cosine between the
    gradients here and a random step away; NaN likewise), margin."""

    zero: Tensor
    at_bounds: Tensor
    saturated: Tensor
    not_finite: Tensor
    ratio: Tensor
    turn: Tensor
    margin: Tensor


def measure_gradients(model, images: Tensor, labels: Tensor, step: float, seed: int = 0) -> Gradients:
    """Probe the gradients at `images` (N, C, H, W); step: how far, per pixel, the second gradient is taken.

    All of it under one draw of a randomized model's noise per image. Six passes forward, four backward.
    """
    with differentiable():
        return _measured(model, ordinary(images), ordinary(labels), step, seed)


def _measured(model, images: Tensor, labels: Tensor, step: float, seed: int) -> Gradients:
    keys = as_keys([(seed, "gradients", row) for row in range(len(images))])

    def part(at: slice) -> tuple[Tensor, ...]:
        x, y, drawn = images[at], labels[at], keys[at]
        with torch.enable_grad():
            logits, value, gradient = loss_gradient(model, x, lambda z: margin(z, y, None), drawn)
            _, _, shallow = loss_gradient(model, x, lambda z: ce(z, y, None), drawn)
            _, _, inside = loss_gradient(model, x * (1 - 2 * INWARD) + INWARD, lambda z: margin(z, y, None), drawn)
        not_finite = ~(gradient.isfinite().flatten(1).all(1) & logits.isfinite().all(1))
        gradient, inside = finite(gradient), finite(inside).abs()
        size = gradient.flatten(1).norm(dim=1)
        nothing = gradient.flatten(1).abs().amax(1) == 0
        flat = shallow.flatten(1).abs().amax(1) == 0
        edge, lost = (x == 0) | (x == 1), inside * (gradient == 0)
        at, elsewhere = (
            part.flatten(1).sum(1) / inside.flatten(1).sum(1).clamp_min(1e-30) for part in (lost * edge, lost * ~edge)
        )
        at_bounds = torch.where(elsewhere > LITTLE, 0.0, at)
        # Along the gradient, far enough to tell from rounding, near enough that a smooth model is straight there.
        reach = REACH * value.abs().clamp_min(0.05 * (1 + logits.abs().amax(1))) / size.clamp_min(1e-30)
        direction = gradient / size.clamp_min(1e-30).reshape(-1, 1, 1, 1)
        with torch.no_grad():
            ahead, behind = (_margin(model, x + sign * reach.reshape(-1, 1, 1, 1) * direction, y, drawn) for sign in (1, -1))
            ratio = (ahead - behind) / (2 * reach * size)
        noise = uniform_noise(x, 1, derive(drawn, 1))[0].sign()
        with torch.enable_grad():
            _, _, there = loss_gradient(model, x + step * noise, lambda z: margin(z, y, None), drawn)
        turn = torch.nn.functional.cosine_similarity(gradient.flatten(1), there.flatten(1))
        nan = torch.full_like(ratio, float("nan"))
        ratio, turn = (torch.where(nothing | not_finite, nan, found) for found in (ratio, turn))
        zero = nothing & ~not_finite & (at_bounds <= LITTLE)
        return zero, at_bounds, flat & ~nothing, not_finite, ratio, turn, value

    with no_trace(model, images.device):
        parts = Batches(network_batch(images) // passes_per_image(model)).map(part, len(images))
    return Gradients(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


@torch.no_grad()
def _margin(model, x: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
    with row_keys(draw_keys(keys, 1)):  # the noise that the gradient saw
        return margin(check_logits(model(x.clone()), x), labels, None)


def surface_settings(found: Gradients) -> dict:
    """What a Surface needs to give an attacker a slope where the model's own gradients have none."""
    settings = {}
    missing = (found.zero, found.at_bounds > LITTLE)
    if max(map(_share, missing)) > LITTLE or _share(found.not_finite) > 0 or _share(_false(found)) >= MUCH:
        settings["through"] = True
    if _share(found.saturated) > LITTLE:
        settings["scale"] = float(found.margin.abs().median().clamp_min(STEEP) / STEEP)
    return settings


def gradient_findings(found: Gradients, settings: dict) -> list[Finding]:
    """What is wrong with the gradients of a model, one finding per fault, and a passed one where nothing is."""
    n, findings = len(found.zero), []

    def fault(id: str, rows: Tensor, limit: float, message: str, remedy: str) -> None:
        if _share(rows) > limit:
            evidence = {"images": n, "affected": int(rows.sum()), **_medians(found)}
            findings.append(
                Finding(id, "alarm", f"{message} ({int(rows.sum())} of {n} images)", evidence, remedy, answered=bool(settings))
            )

    fault(
        "gradient-not-finite",
        found.not_finite,
        0.0,
        "The input gradient is NaN or infinite",
        "Find the operation that overflows or divides 0 by 0; attacks on such a model prove nothing.",
    )
    fault(
        "gradient-zero",
        found.zero,
        LITTLE,
        "The input gradient is exactly zero: something between the image and the logits has none (rounding, a comparison, a "
        "codec, detach)",
        "Differentiate straight through it (BPDA), as the adaptive attack here does, and add a score-based attack.",
    )
    fault(
        "gradient-saturated",
        found.saturated,
        LITTLE,
        "Cross-entropy is saturated: the logits are so far apart that its gradient vanishes in float32",
        "Attack with the margin or DLR loss, or with logits divided by a constant, as the adaptive attack here does.",
    )
    fault(
        "gradient-false",
        _false(found),
        MUCH,
        "The gradient is not that of the model: stepping along it does not change the margin as it predicts",
        "Look for a hand-written backward pass; the adaptive attack here differentiates the forward code instead.",
    )
    bounds = found.at_bounds > LITTLE
    if _share(bounds) > LITTLE:
        message = f"The model has no gradient at pixels that are 0 or 1, as behind a clamp ({int(bounds.sum())} of {n} images)"
        evidence = {"images": n, "affected": int(bounds.sum()), "mean share": round(float(found.at_bounds.nanmean()), 4)}
        remedy = "Attacks here go straight through the clamp; without that, gradient attacks flatter the model."
        findings.append(Finding("gradient-at-bounds", "note", message, evidence, remedy))
    if findings:
        return findings
    return [
        Finding("gradients", "passed", f"Gradients are finite, not zero, not saturated and true on {n} images", _medians(found))
    ]


def _false(found: Gradients) -> Tensor:
    """Where the gradient says something else than the model does, (N,) bool."""
    low, high = AGREES
    return ~found.ratio.isnan() & ~((found.ratio >= low) & (found.ratio <= high))


def _share(rows: Tensor) -> float:
    return float(rows.float().mean()) if len(rows) else 0.0


def _medians(found: Gradients) -> dict:
    return {
        f"median {name}": round(float(getattr(found, name).nanmedian()), 4)
        for name in ("ratio", "turn", "margin")
        if not getattr(found, name).isnan().all()
    }
