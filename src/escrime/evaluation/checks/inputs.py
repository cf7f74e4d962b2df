"""Checks that show a model a few images in several ways: is it loaded right, fed right, and a classifier of single images?"""

from collections.abc import Callable

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from ...models.running import Batches, check_logits, network_batch, no_trace, passes_per_image
from ...randomness import as_keys, row_keys
from ..statistics import mcnemar, wilson
from .batch import BatchEffect, batch_effect, batch_finding
from .finding import Finding

SURE = 0.01  # p from which accuracy is above chance
CERTAIN = 0.001  # p from which an alarm about the input is raised
CLEARLY = 0.1  # how much better another way of feeding must do
STEP = 0.01  # how far from an image its surroundings are, where nobody says
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # what differs between train and eval mode


def input_findings(
    model,
    images: Tensor,
    labels: Tensor,
    randomized: bool,
    seed: int = 0,
    *,
    blind: bool = False,
    batch: BatchEffect | None = None,
) -> list[Finding]:
    """What is wrong with how `model` takes `images` (N, C, H, W) in [0, 1] or answers; labels (N,).

    model: any callable to logits (N, K). randomized: whether repeated forwards disagree. blind: the model gives no gradients,
    so that shares or labels will do. batch: what company does to its answers, None to measure it here. About eight passes per
    image.
    """
    found = train_mode(model) + repeatability(randomized)
    if not len(images):
        return found
    keys = as_keys([(seed, "inputs", row) for row in range(len(images))])
    with torch.no_grad(), no_trace(model, images.device):
        logits = _logits(model, images, keys)
        broken = non_finite(logits)
        if broken:
            return broken + found
        right = logits.argmax(1) == labels
        found += near_chance(right, logits.shape[1]) + input_range(model, images, labels, right, keys)
        if not blind:
            found += probabilities(logits)
        if not randomized:
            found += batch_finding(batch_effect(model, images, STEP, seed) if batch is None else batch)
    return found


def _logits(model, images: Tensor, keys: Tensor) -> Tensor:
    """Logits (N, K)."""

    def part(rows: slice) -> Tensor:
        with row_keys(keys[rows]):
            return check_logits(model(images[rows].clone()), images[rows])

    return torch.cat(Batches(network_batch(images) // passes_per_image(model)).map(part, len(images)))


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


def near_chance(right: Tensor, classes: int) -> list[Finding]:
    """Accuracy that guessing could explain, where there are images enough to tell."""
    n, count, chance = len(right), int(right.sum()), 1 / classes
    p = float(binomtest(count, n, chance, alternative="greater").pvalue)
    evidence = {"images": n, "right": count, "classes": classes, "p": p}
    numbers = f"{count} of {n} clean images are right ({count / n:.1%}; guessing among {classes} classes: {chance:.1%})"
    if p <= SURE:
        return [Finding("near-chance", "passed", numbers, evidence)]
    if wilson(count, n, 1 - CERTAIN)[1] >= (1 + chance) / 2:
        return [
            Finding("near-chance", "note", f"Too few images to tell from guessing: {numbers}", evidence, "Use more images.")
        ]
    return [
        Finding(
            "near-chance",
            "alarm",
            f"{numbers}: no better than guessing, so likely a loading mistake",
            evidence,
            "Check the weights, the order of the classes, and the normalization (escrime.Normalized).",
        )
    ]


def input_range(model, images: Tensor, labels: Tensor, right: Tensor, keys: Tensor) -> list[Finding]:
    """The same images in another range, or with swapped channels, must not be answered better."""
    counts = {"as they are": int(right.sum())}
    clear = {}
    for name, (change, cause, remedy) in _ways(images).items():
        try:
            other = _logits(model, change(images), keys).argmax(1) == labels
        except Exception:  # a model that refuses such images was not made for them
            continue
        counts[name] = int(other.sum())
        better = (counts[name] - counts["as they are"]) / len(images)
        if better >= CLEARLY and mcnemar(other.cpu().numpy(), right.cpu().numpy()) < CERTAIN:
            clear[name] = (counts[name], cause, remedy)
    evidence = {"images": len(images), "right": counts}
    if not clear:
        return [Finding("input-range", "passed", f"No other range of the {len(images)} images is answered better", evidence)]
    name = max(clear, key=lambda key: clear[key][0])
    most, cause, remedy = clear[name]
    message = f"{most} of {len(images)} images are right {name}, {counts['as they are']} in [0, 1]: {cause}"
    return [Finding("input-range", "alarm", message, evidence, remedy)]


def _ways(images: Tensor) -> dict[str, tuple[Callable[[Tensor], Tensor], str, str]]:
    """name → (how to change the images, what it means if that is better, what to do)."""
    ways = {
        "as 0–255": (
            lambda x: x * 255,
            "the model expects 0–255",
            "Put the scale in front: escrime.Normalized(model, mean=0.0, std=1 / 255).",
        ),
        "scaled to [−1, 1]": (
            lambda x: 2 * x - 1,
            "the model expects [−1, 1]",
            "Put the scale in front: escrime.Normalized(model, mean=0.5, std=0.5).",
        ),
    }
    if images.shape[1] == 3:
        mean, std = (images.new_tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
        ways["normalized with ImageNet's mean and std"] = (
            lambda x: (x - mean) / std,
            "the model lacks its normalization",
            f"Make it the first layer: escrime.Normalized(model, mean={MEAN}, std={STD}).",
        )
        ways["un-normalized with ImageNet's mean and std"] = (
            lambda x: x * std + mean,
            "the model normalizes twice",
            "Keep one normalization: take escrime.Normalized, or the one inside the network, away.",
        )
        ways["with red and blue swapped"] = (
            lambda x: x.flip(1),
            "the model expects BGR",
            "Swap the channels in a first layer: images.flip(1).",
        )
    return ways


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
