"""Checks that show a model a few images in several ways: is it loaded right, fed right, and a classifier of single images?"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ...models.running import Batches, Classifier, check_logits, no_trace, passes_per_image
from ...randomness import as_keys, row_keys
from ...results.checks.chance import chance_findings
from ...results.findings import Finding
from .batch import BatchEffect, batch_effect, batch_finding
from .normalization import input_range

STEP = 0.01  # how far from an image its surroundings are, by default
MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # what differs between train and eval mode


More = Callable[[int], tuple[Tensor, Tensor]]


def input_findings(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    randomized: bool,
    seed: int = 0,
    *,
    blind: bool = False,
    batch: BatchEffect | None = None,
    more: More | None = None,
    fed: list[Finding] | None = None,
    scored: tuple[Tensor, Tensor] | None = None,
) -> list[Finding]:
    """What is wrong with how `model` takes `images` (N, C, H, W) in [0, 1], or with its outputs; labels (N,).

    model: any callable to logits (N, K). randomized: whether repeated forwards disagree. blind: the model gives no gradients,
    so that shares or labels will do. batch: what company does to its predictions, None to measure it here. more: number → that
    many (images, labels) of the same set, asked for where these leave open whether another normalization is better. fed: what
    was found about that before, which is not asked again. scored: predictions and labels (M,) of the clean images that were
    evaluated, where these are more. About three to fourteen passes per image, one with `fed`.
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
        predictions, truth = (logits.argmax(1), labels) if scored is None else scored
        found += sigmoid(logits, labels) + chance_findings(predictions, truth, logits.shape[1])
        if logits.shape[1] > 1:
            ask = lambda given: _logits(model, given, _keys(seed, len(given)))  # noqa: E731
            found += input_range(model, images, labels, logits, ask, more) if fed is None else fed
        if not blind:
            found += probabilities(logits)
        if not randomized:
            found += batch_finding(batch_effect(model, images, STEP, seed) if batch is None else batch)
    return found


def not_seen(raised: Mapping[str, str]) -> list[Finding]:
    """What could not be seen of a model because it raised there: name → what it raised; [] of one that never did."""
    if not raised:
        return []
    listed = "; ".join(f"{what} ({reason})" for what, reason in raised.items())
    return [
        Finding(
            "check-failed",
            "warning",
            f"The model raised while it was looked at, so that this was not seen: {listed}",
            dict(raised),
            "Mend what it raises there; a classifier predicts a class for every image, however often it is asked.",
        )
    ]


def _keys(seed: int, count: int) -> Tensor:
    return as_keys([(seed, "inputs", row) for row in range(count)])


def _logits(model: Classifier, images: Tensor, keys: Tensor) -> Tensor:
    """Logits (N, K)."""

    def part(rows: slice) -> Tensor:
        with row_keys(keys[rows]):
            return check_logits(model(images[rows].clone()), images[rows])

    return torch.cat(Batches.of(images, passes_per_image(model)).map(part, len(images)))


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


def sigmoid(logits: Tensor, labels: Tensor) -> list[Finding]:
    """One output between 0 and 1, which tells the classes apart at 0.5: a probability. A single logit does so at 0, above which
    all of these lie."""
    if logits.shape[1] != 2 or bool(logits[:, 0].any()):
        return []
    one, second = logits[:, 1], labels == 1
    low, high = float(one.min()), float(one.max())
    right = float(((one > 0.5) == second).float().mean())
    if low < 0 or high > 1 or right <= float(second.float().mean()):
        return []
    return [
        Finding(
            "sigmoid-output",
            "alarm",
            f"The model's one output lies between 0 and 1 ({low:.3g} to {high:.3g}), as behind a sigmoid: read as a logit it "
            f"says class 1 of every image, and parted at 0.5 it would be right on {right:.0%}",
            {"images": len(logits), "smallest": round(low, 4), "largest": round(high, 4), "right at 0.5": round(right, 4)},
            "Return the logit z, before the sigmoid; for probabilities p it is torch.logit(p).",
        )
    ]


def train_mode(model: Classifier) -> list[Finding]:
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
