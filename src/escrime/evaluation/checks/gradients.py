"""Do the model's gradients lead anywhere? Measured on a few images, on the model as it is.

Carlini et al. (2019), On evaluating adversarial robustness, section 4; Athalye et al. (2018), Obfuscated gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...attacks.core.gradients import draw_keys, finite, loss_gradient
from ...attacks.core.losses import ce, margin
from ...models.running import (
    Batches,
    Classifier,
    check_logits,
    differentiable,
    no_trace,
    ordinary,
    passes_per_image,
)
from ...randomness import as_keys, derive, row_keys, uniform_noise
from ...results.findings import Finding

Loss = Callable[[Tensor], Tensor]  # logits (N, K) → (N,)
LossOf = Callable[[Tensor | slice], Loss]  # rows (M,) → the loss of those images
DIRECTIONS = 4  # random sign directions along which an image is moved
REACH = 0.002  # how much of the margin one of them may change, so that a smooth model is straight there
NEARER = (1, 4, 16)  # times nearer, where a kink may lie within that reach: a false gradient is false at every scale
AGAIN = 2  # further points at which an image that is not explained is asked
INWARD = 0.01  # how far from the faces of the box the image is moved to see what they hide
ROUNDING = 2e-6  # of the largest logit: what a difference of two outputs is off in float32,
COARSE = {torch.bfloat16: 4e-3, torch.float16: 5e-4}  # and where the logits are numbers of these
CLEAR = 30  # times that, from which a difference counts
UNEXPLAINED = 0.03  # share of the slopes' variance that a true gradient may leave unexplained (measured: below 0.006)
LITTLE = 0.05  # share of the images from which a fault counts
KEPT = 0.1  # of what a gradient promises of a step along it, at the least (measured: 0.18 where nearly all ties, 1 elsewhere)
NEAR = (1e-5, 5e-3)  # how near, per pixel, and how far such a step goes
FLAT_SCORES = "The scores are flat: no random step of size ε moves the margin, so neither gradients nor scores lead anywhere"
BY_LABELS = (
    "Attack by labels alone (RayS, HopSkipJump), by the logits before the flat function, and by a substitute trained on the "
    "labels"
)
STEEP = 10.0  # a margin that no longer saturates cross-entropy


@dataclass(frozen=True)
class Gradients:
    """Per image, (N,): zero (the margin's gradient vanishes), at_bounds (the share of it that all but vanishes only because
    pixels are at 0 or 1, as seen from a little inside the box), saturated (only that of cross-entropy vanishes), not_finite,
    unexplained (the share of the variance of slopes along random directions that the gradient does not predict; NaN where
    nothing moves), flat (no random step of size ε moves the margin), turn (cosine between the gradients here and a random
    step away; NaN without a gradient), margin, unheld (noise that does not repeat moves the logits, so that no slope was
    measured)."""

    zero: Tensor
    at_bounds: Tensor
    saturated: Tensor
    not_finite: Tensor
    unexplained: Tensor
    flat: Tensor
    turn: Tensor
    margin: Tensor
    unheld: Tensor

    @property
    def false(self) -> bool:
        """Whether the gradient, where there is one, is not that of the model."""
        known = self.unexplained[~self.unexplained.isnan() & ~self.zero & ~self.not_finite]
        bent = known > UNEXPLAINED
        return _share(bent) > LITTLE and float(known.clamp_max(1).mean()) > UNEXPLAINED

    @property
    def true(self) -> bool:
        """Whether the gradient is there on every image, and explains the model's slopes."""
        gone = self.zero | self.not_finite | self.flat | self.saturated | self.unheld
        return not self.false and _share(gone) <= LITTLE

    @property
    def whole(self) -> bool:
        """Whether pixels that are 0 or 1 have theirs too."""
        return _share(self.at_bounds > LITTLE) <= LITTLE


def measure_gradients(
    model: Classifier, images: Tensor, labels: Tensor, step: float, seed: int = 0, again: int = AGAIN
) -> Gradients:
    """Probe the gradients at `images` (N, C, H, W); step: how far, per pixel, the second gradient is taken, a quarter of ε.
    again: at how many further points an image is asked that is not explained.

    All of it under one draw of a randomized model's noise per image. Along random sign directions v the expected square of
    (g·v − slope) is |g − ∇m|²: a gradient that lacks a component (some pixels, a channel, the brightness) cannot hide it, as
    it can along itself. 22 passes forward, five backward, and of images that it does not explain 32 more forward and
    two backward, or up to 64 where the margin moves little.
    """
    with differentiable():
        return _measured(model, ordinary(images), ordinary(labels), step, seed, again)


def _measured(model: Classifier, images: Tensor, labels: Tensor, step: float, seed: int, again: int) -> Gradients:
    keys = as_keys([(seed, "gradients", row) for row in range(len(images))])

    def part(at: slice) -> tuple[Tensor, ...]:
        x, y, drawn = images[at], labels[at], keys[at]
        within = x * (1 - 2 * INWARD) + INWARD
        with torch.enable_grad():
            logits, _, shallow = loss_gradient(model, x, lambda z: ce(z, y, None), drawn)
            rival = logits.scatter(1, y[:, None], float("-inf")).argmax(1)
            single = rival == y  # of one class there is no rival
            rival = torch.where(single, 0, rival)
            loss_of = lambda rows: lambda z: margin(z, y[rows], rival[rows])  # noqa: E731
            loss = loss_of(slice(None))
            logits, value, gradient = loss_gradient(model, x, loss, drawn)
            _, _, inside = loss_gradient(model, within, loss, drawn)
        not_finite = ~(gradient.isfinite().flatten(1).all(1) & logits.isfinite().all(1))
        gradient, inside = finite(gradient), finite(inside)
        nothing = gradient.flatten(1).abs().amax(1) == 0
        flat_loss = shallow.flatten(1).abs().amax(1) == 0
        edge, lost = (x == 0) | (x == 1), inside.abs() * (gradient.abs() <= LITTLE * inside.abs())
        total = inside.abs().flatten(1).sum(1).clamp_min(1e-30)
        at_edge, elsewhere = (part.flatten(1).sum(1) / total for part in (lost * edge, lost * ~edge))
        at_bounds = torch.where(elsewhere > LITTLE, 0.0, at_edge)
        apart, large = (_logits(model, x, drawn) - logits).abs().amax(1), logits.abs().amax(1).clamp_min(1e-3)
        unheld = apart > CLEAR * _rounding(logits) * large
        unexplained = _unexplained(model, x, loss_of, logits, step, drawn, again * ~nothing)
        astray = _astray(model, x, loss_of, logits, gradient, drawn) & ~nothing & ~not_finite
        unexplained = torch.where(astray, 1.0, unexplained).masked_fill(unheld, torch.nan)
        flat = _flat(model, x, loss, logits, 4 * step, drawn)
        noise = uniform_noise(x, 1, derive(drawn, 1))[0].sign()
        with torch.enable_grad():
            _, _, there = loss_gradient(model, x + step * noise, loss, drawn)
        turn = torch.nn.functional.cosine_similarity(gradient.flatten(1), there.flatten(1))
        turn = torch.where(nothing | not_finite, torch.nan, turn)
        zero = nothing & ~not_finite & (at_bounds <= LITTLE)
        return zero, at_bounds, flat_loss & ~nothing, not_finite, unexplained, flat, turn, value, unheld

    with no_trace(model, images.device):
        parts = Batches.of(images, passes_per_image(model)).map(part, len(images))
    return Gradients(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def _unexplained(
    model: Classifier, x: Tensor, loss: LossOf, logits: Tensor, step: float, keys: Tensor, again: Tensor
) -> Tensor:
    """1 − R² per image (N,) of the margin's change along random sign directions, the gradient being its prediction.

    Beside x, not at it: pixels of one color tie in a max-pooling, and nothing is a kink of a ReLU, exactly. Beside x a kink may
    lie too, by chance: an image that the gradient does not explain is asked at further points, and their median counts. A
    gradient that is false there is false at most of them. again (N,): how many of these; none where there is no gradient.
    """
    found = [_unexplained_at(model, x, loss(slice(None)), logits, step, keys, 0)]
    bent = ((found[0] > UNEXPLAINED) & (again > 0)).nonzero()[:, 0]
    for number in range(1, int(again.max()) + 1 if len(bent) else 1):
        found.append(found[0].clone())
        found[-1][bent] = _unexplained_at(model, x[bent], loss(bent), logits[bent], step, keys[bent], number)
    return torch.stack(found).nanmedian(0).values


def _unexplained_at(model: Classifier, x: Tensor, loss: Loss, logits: Tensor, step: float, keys: Tensor, number: int) -> Tensor:
    """The same at the point beside x that `number` draws. Where the margin bends within reach (a deep network, steep behind its
    normalization), the gradient may be right and explain little, so it is asked nearer too, and the least counts. At a further
    point the nearest will do, unless the margin moves too little there to tell."""
    x = x * (1 - 4 * INWARD) + 2 * INWARD + 1.5 * INWARD * uniform_noise(x, 1, derive(keys, 2 + number))[0]
    with torch.enable_grad():
        _, value, gradient = loss_gradient(model, x, loss, keys)
    gradient, value = finite(gradient), value.detach()
    size, large, rounding = gradient.flatten(1).norm(dim=1), logits.abs().amax(1), _rounding(logits)
    reach = max(REACH, 2 * CLEAR * rounding) * value.abs().clamp_min(0.05 * (1 + large)) / size.clamp_min(1e-30)
    reach = reach.clamp(step / 256, min(step / 2, INWARD / 2)).reshape(-1, 1, 1, 1)
    least = torch.full_like(value, torch.nan)
    for nearer in reversed(NEARER) if number else NEARER:
        least = least.fmin(_missed(model, x, loss, gradient, reach / nearer, rounding * large.clamp_min(1e-3), keys))
        if not (least.isnan() if number else least > UNEXPLAINED).any():
            break
    return least


@torch.no_grad()
def _astray(model: Classifier, x: Tensor, loss: LossOf, logits: Tensor, gradient: Tensor, keys: Tensor) -> Tensor:
    """At which images (N,) themselves, where attacks begin, steps along the signs of the gradient keep less than KEPT of what
    it promises: at pixels that are 0 or 1, as far as these can move, or at the others. Kinks and ties, which lie exactly there,
    take no more than a part of it; who hides a gradient at such points alone is not seen beside them."""
    edge, large = (x == 0) | (x == 1), logits.abs().amax(1)
    off = CLEAR * _rounding(logits) * large.clamp_min(1e-3)
    found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for part in (edge, ~edge):
        up, down = (
            way * (part & (x + NEAR[1] * way >= 0) & (x + NEAR[1] * way <= 1)) for way in (gradient.sign(), -gradient.sign())
        )
        promise = (gradient.abs() * (up.abs() + down.abs())).flatten(1).sum(1)
        bent = promise > LITTLE * gradient.abs().flatten(1).sum(1)
        reach = 2 * torch.maximum(REACH * (1 + large), off) / promise.clamp_min(1e-30)
        for nearer in NEARER:
            rows = bent.nonzero()[:, 0]
            if not len(rows):
                break
            far = (reach[rows] / nearer).clamp(*NEAR)
            step, own = far.reshape(-1, 1, 1, 1), loss(rows)
            ahead, behind = (own(_logits(model, x[rows] + step * way[rows], keys[rows])).double() for way in (up, down))
            kept, promised = ahead - behind, promise[rows] * far
            bent[rows[(kept >= KEPT * promised) | (promised < off[rows])]] = False
        found |= bent
    return found


def _rounding(logits: Tensor) -> float:
    """The rounding error of a difference of two logits, as a part of the largest: larger for a model in half precision, whose
    logits are float32 here."""
    coarse = (part for dtype, part in COARSE.items() if torch.equal(logits, logits.to(dtype).float()))
    return next(coarse, ROUNDING)


def _missed(model: Classifier, x: Tensor, loss: Loss, gradient: Tensor, reach: Tensor, off: Tensor, keys: Tensor) -> Tensor:
    """1 − R² per image (N,) over steps of `reach` (N, 1, 1, 1); NaN where they move the margin by little more than `off` (N,),
    which a difference is off by rounding."""
    off = off.double()
    missed, moved, largest = torch.zeros_like(off), torch.zeros_like(off), torch.zeros_like(off)
    for direction in range(DIRECTIONS):
        v = uniform_noise(x, 1, derive(keys, 100 + direction))[0].sign()
        ahead, behind = x + reach * v, x - reach * v
        with torch.no_grad():
            slope = loss(_logits(model, ahead, keys)).double() - loss(_logits(model, behind, keys)).double()
        predicted = (gradient.double() * (ahead.double() - behind.double())).flatten(1).sum(1)
        missed += ((slope - predicted).square() - (3 * off).square()).clamp_min(0)
        largest = torch.maximum(largest, torch.maximum(slope.abs(), predicted.abs()))
        moved += torch.maximum(slope.square(), predicted.square())
    return torch.where(largest > CLEAR * off, missed / moved.clamp_min(1e-300), torch.nan).float()


@torch.no_grad()
def _flat(model: Classifier, x: Tensor, loss: Loss, logits: Tensor, eps: float, keys: Tensor) -> Tensor:
    """Which margins (N,) no random step to a corner of the ε-ball moves by more than float32 rounds."""
    before, off, flat = loss(logits), ROUNDING * logits.abs().amax(1).clamp_min(1e-6), torch.ones(len(x), dtype=torch.bool)
    for direction in range(DIRECTIONS):
        v = uniform_noise(x, 1, derive(keys, 200 + direction))[0].sign()
        moved = loss(_logits(model, (x + eps * v).clamp(0, 1), keys))
        flat = flat.to(x.device) & ((moved - before).abs() <= off)
    return flat


def flat_scores(model: Classifier, images: Tensor, labels: Tensor, eps: float, seed: int = 0) -> Tensor:
    """Which images (N,), of a model that is only asked, have margins that no random step to a corner of the ε-ball moves."""
    keys = as_keys([(seed, "gradients", row) for row in range(len(images))])

    def part(at: slice) -> Tensor:
        x, y, drawn = images[at], labels[at], keys[at]
        logits = _logits(model, x, drawn)
        rival = logits.scatter(1, y[:, None], float("-inf")).argmax(1)
        return _flat(model, x, lambda z: margin(z, y, rival), logits, eps, drawn)

    with no_trace(model, images.device):
        return torch.cat(Batches.of(images, passes_per_image(model)).map(part, len(images))).cpu()


@torch.no_grad()
def _logits(model: Classifier, x: Tensor, keys: Tensor) -> Tensor:
    with row_keys(draw_keys(keys, 1)):  # the noise that the gradient saw
        return check_logits(model(x.clone()), x)


def surrogate_settings(found: Gradients) -> dict:
    """What a Surrogate needs to give an attacker a slope where the model's own gradients have none."""
    settings: dict[str, float] = {}
    missing = (found.zero, found.at_bounds > LITTLE, found.unheld)
    if max(map(_share, missing)) > LITTLE or _share(found.not_finite) > 0 or found.false:
        settings["through"] = True
    if _share(found.saturated) > LITTLE:
        settings["scale"] = float(found.margin.abs().nan_to_num(0, 0, 0).quantile(1 - LITTLE / 2).clamp_min(STEEP) / STEEP)
    return settings


def gradient_findings(found: Gradients) -> list[Finding]:
    """What is wrong with the gradients of a model, one finding per fault, and a passed one where nothing is."""
    n, findings = len(found.zero), []

    def fault(id: str, rows: Tensor, limit: float | bool, message: str, remedy: str) -> None:
        if limit if isinstance(limit, bool) else _share(rows) > limit:
            evidence = {"images": n, "affected": int(rows.sum()), **_medians(found)}
            findings.append(Finding(id, "alarm", f"{message} ({int(rows.sum())} of {n} images)", evidence, remedy))

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
        found.unexplained > UNEXPLAINED,
        found.false,
        "The gradient is not that of the model, or lacks a part of it: along random directions the margin changes otherwise "
        "than it predicts",
        "Look for hand-written backward passes, detached parts and code outside torch; the adaptive attack here differentiates "
        "the forward code instead.",
    )
    fault("scores-flat", found.flat, LITTLE, FLAT_SCORES, f"{BY_LABELS}, as the adaptive attack here does.")
    if _share(found.unheld) > LITTLE:
        message = (
            "Noise that does not repeat under one seed moves the logits, so that no slope could be compared with the gradient"
        )
        remedy = "Draw the noise from torch's generator; whether the gradient is the model's was not seen."
        n_unheld = int(found.unheld.sum())
        findings.append(
            Finding("gradients", "note", f"{message} ({n_unheld} of {n} images)", {"images": n, "affected": n_unheld}, remedy)
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


def _share(rows: Tensor) -> float:
    return float(rows.float().mean()) if len(rows) else 0.0


def _medians(found: Gradients) -> dict:
    return {
        f"median {name}": round(float(getattr(found, name).nanmedian()), 4)
        for name in ("unexplained", "turn", "margin")
        if not getattr(found, name).isnan().all()
    }
