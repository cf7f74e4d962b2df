"""Checks that show a model a few images in several ways: is it loaded right, fed right, and a classifier of single images?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...models.running import Batches, check_logits, network_batch, no_trace, passes_per_image
from ...randomness import as_keys, row_keys
from .chance import chance_findings
from .finding import Finding
from .normalization import input_range

ALONE = 8  # images asked alone and in a batch
SAME = {"cpu": 1e-3}  # how far logits may move with the batch, relative to the largest;
SAME_ELSEWHERE = 1e-2  # a GPU rounds differently in another batch
SOME = 0.25  # share of the images whose logits must move
MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # what differs between train and eval mode


More = Callable[[int], tuple[Tensor, Tensor]]


def input_findings(
    model, images: Tensor, labels: Tensor, randomized: bool, seed: int = 0, *, blind: bool = False, more: More | None = None
) -> list[Finding]:
    """What is wrong with how `model` takes `images` (N, C, H, W) in [0, 1] or answers; labels (N,).

    model: any callable to logits (N, K). randomized: whether repeated forwards disagree. blind: the model gives no gradients,
    so that shares or labels will do. more: number → that many (images, labels) of the same set, asked for where these leave
    open whether another normalization is better. About eight passes per image.
    """
    found = train_mode(model) + repeatability(randomized)
    if not len(images):
        return found
    keys = _keys(seed, len(images))
    with torch.no_grad(), no_trace(model, images.device):
        logits = _logits(model, images, keys)
        broken = non_finite(logits)
        if broken:
            return broken + found
        found += chance_findings(logits, labels)
        if logits.shape[1] > 1:
            ask = lambda given: _logits(model, given, _keys(seed, len(given)))  # noqa: E731
            found += input_range(model, images, labels, logits, ask, more)
        if not blind:
            found += probabilities(logits)
        if not randomized:
            found += batch_dependent(model, images, keys)
    return found


def _keys(seed: int, count: int) -> Tensor:
    return as_keys([(seed, "inputs", row) for row in range(count)])


def _logits(model, images: Tensor, keys: Tensor, limit: int | None = None) -> Tensor:
    """Logits (N, K), at most `limit` images at a time."""

    def part(rows: slice) -> Tensor:
        with row_keys(keys[rows]):
            return check_logits(model(images[rows].clone()), images[rows]).float()

    size = network_batch(images) // passes_per_image(model)
    return torch.cat(Batches(size if limit is None else min(limit, size)).map(part, len(images)))


def non_finite(logits: Tensor) -> list[Finding]:
    bad = int((~logits.isfinite().all(1)).sum())
    if not bad:
        return []
    return [
        Finding(
            "non-finite",
            "alarm",
            f"The logits of {bad} of {len(logits)} images are NaN or infinite: that is no verdict",
            {"images": len(logits), "not finite": bad},
            "Mend the model first: look for an overflow, a logarithm of 0 or 0/0.",
        )
    ]


def probabilities(logits: Tensor) -> list[Finding]:
    """Softmax that was already applied: cross-entropy takes it once more, and its gradients shrink to nothing."""
    low, high, sums = float(logits.min()), float(logits.max()), logits.sum(1)
    evidence = {"smallest": round(low, 4), "largest": round(high, 4), "mean sum": round(float(sums.mean()), 4)}
    if logits.shape[1] < 2 or low < -1e-4 or high > 1 + 1e-4 or bool(((sums - 1).abs() > 1e-3).any()):
        return [Finding("probabilities", "passed", "The model returns logits, not probabilities", evidence)]
    return [
        Finding(
            "probabilities",
            "alarm",
            "The model returns probabilities (from 0 to 1, with sum 1), not logits: where it is sure its gradients saturate",
            evidence,
            "Return the logits: take the softmax at the end away, or return its logarithm.",
        )
    ]


def train_mode(model) -> list[Finding]:
    """Layers left in training mode; they are evaluated in eval mode and put back."""
    if not isinstance(model, nn.Module):
        return []
    left = [module for module in model.modules() if isinstance(module, MODAL) and module.training]
    if not left:
        return []
    kinds = sorted({type(module).__name__ for module in left})
    return [
        Finding(
            "train-mode",
            "note",
            f"{len(left)} layers were in training mode ({', '.join(kinds)}); the model is evaluated in eval mode and put back",
            {"layers": len(left), "kinds": kinds},
            "Call model.eval() yourself, unless training mode is the defense: then wrap what is random in a module of its own.",
        )
    ]


def repeatability(randomized: bool) -> list[Finding]:
    if not randomized:
        return [Finding("deterministic", "passed", "Repeated forwards of the same images agree exactly")]
    return [
        Finding(
            "randomized",
            "warning",
            "Repeated forwards disagree, which misleads single gradients and single verdicts: scored by expectation over fresh "
            "noise, attacked with expectation over it (EOT)",
            {},
            "Believe only the number of an attack whose noise draws were doubled until it no longer fell (see `converged`).",
            answered=True,
        )
    ]


def batch_dependent(model, images: Tensor, keys: Tensor) -> list[Finding]:
    """Whether the logits of an image move with the images beside it, or with its place in the batch."""
    some, drawn = images[:16], keys[:16]
    if len(some) < 2:
        return []
    together = _logits(model, some, drawn)
    size = together.abs().amax(1).clamp_min(1e-6)
    moved = ((_logits(model, some.flip(0), drawn.flip(0)).flip(0) - together).abs().amax(1) / size).cpu()
    for companions in (1, 2):  # a network that drops a dimension of 1 cannot be asked alone
        try:
            apart = _logits(model, some[:ALONE], drawn[:ALONE], limit=companions)
        except Exception:
            continue
        change = ((apart - together[:ALONE]).abs().amax(1) / size[:ALONE]).cpu()
        moved[:ALONE] = torch.maximum(moved[:ALONE], change)
        moved = moved[:ALONE]
        break
    affected = moved > SAME.get(images.device.type, SAME_ELSEWHERE)
    evidence = {"images": len(moved), "affected": int(affected.sum()), "largest relative change": round(float(moved.max()), 6)}
    if affected.float().mean() < SOME:
        message = f"Logits do not depend on the other images of a batch ({len(moved)} images)"
        return [Finding("batch-dependent", "passed", message, evidence)]
    return [
        Finding(
            "batch-dependent",
            "alarm",
            f"The logits of {int(affected.sum())} of {len(moved)} images depend on the other images in their batch (by up to "
            f"{float(moved.max()):.2g} of the largest logit)",
            evidence,
            "Look for BatchNorm that uses the batch's statistics, or a normalization over the batch, and fix its statistics.",
        )
    ]
