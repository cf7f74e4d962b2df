"""The verdict: what the original, unmodified float32 model predicts for an image."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..defenses import PredictionAveraging
from ..errors import EscrimeError, not_finite
from ..models.deadline import look
from ..models.fast.twin import Twin
from ..models.running import Batches, Classifier, failure_named, full_precision, no_trace, passes_per_image
from ..no_class import NO_CLASS, NO_TARGET
from ..randomness import as_keys, derive, row_keys

Value = TypeVar("Value")


@dataclass(frozen=True)
class Predicted:
    """Per image, all of shape (N,): the prediction (majority over draws), its confidence, and the fraction of draws that
    predicted the label and the target."""

    prediction: Tensor
    confidence: Tensor
    correct: Tensor
    hit: Tensor


@torch.no_grad()
def score(
    model: nn.Module | Twin, images: Tensor, labels: Tensor, targets: Tensor, keys: list[tuple], draws: int = 1
) -> Predicted:
    """Classify `images` (N, C, H, W), each `draws` times with fresh noise keyed by (*keys[i], draw).

    targets (N,) holds NO_TARGET where there is none. Confidence is the mean softmax probability of the majority class. NaN or
    infinity is no class: such a prediction is NO_CLASS, and neither right nor at the target. Of a Twin only the original is
    asked, for what is fooled and for what is not.
    """
    twin = model if isinstance(model, Twin) else Twin(model, copy=model)
    hashed, passes = as_keys(keys), passes_per_image(twin.model)

    def part(rows: slice) -> tuple[Tensor, ...]:
        probabilities = votes = torch.zeros((), device=images.device)
        for draw in range(draws):
            look(passes * (rows.stop - rows.start) if draw else 0)  # Batches counts the first
            logits = twin.logits(images[rows], derive(hashed[rows], draw), mean=draws > 1)
            valid = logits.isfinite().all(1, keepdim=True)
            known = torch.where(valid, logits, 0.0)
            chance = known.softmax(dim=1) * valid
            # Of the logits: softmax makes equals of those that differ by less than its rounding.
            vote = torch.nn.functional.one_hot(known.argmax(1), logits.shape[1]) * valid
            probabilities, votes = probabilities + chance / draws, votes + vote / draws
        none = votes.sum(1) < 0.5 - 1e-6  # most of the predictions were no class
        prediction = torch.where(none, NO_CLASS, (votes + 1e-6 * probabilities).argmax(1))
        pick = lambda table, index: table.gather(1, index.clamp_min(0)[:, None]).squeeze(1)  # noqa: E731
        aim = targets[rows]
        hit = torch.where(aim != NO_TARGET, pick(votes, aim), torch.zeros_like(votes[:, 0]))
        return prediction, pick(probabilities, prediction), pick(votes, labels[rows]), hit

    parts = _in_batches(twin.model, images, part)
    return Predicted(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def as_they_are() -> AbstractContextManager[None]:
    """Within the block the model is asked about images that no attack has touched: what it raises becomes one sentence."""
    fails = "the model raised on images as they are, without any attack"
    return failure_named(
        fails, "there is nothing to evaluate until it predicts a class for each of them, however often it is asked"
    )


def _in_batches(model: Classifier, images: Tensor, part: Callable[[slice], Value]) -> list[Value]:
    """part(rows) for all rows of `images`, as many at a time as `model` takes, which is left as it was."""
    with no_trace(model, images.device):
        return Batches.of(images, passes_per_image(model)).map(part, len(images))


@torch.no_grad()
def score_prefixes(
    averaging: PredictionAveraging, samples: Sequence[int], images: Tensor, labels: Tensor, keys: list[tuple], draws: int
) -> Tensor:
    """The share of `draws` fresh noise draws in which PPA_N is right, (len(samples), N_images), for all N of `samples` from
    the forwards of `averaging`, whose own N is the largest.

    images (N_images, C, H, W); keys: one tuple per image, (seed, id, ...), from which its noise is drawn as `score` would for
    PPA_N itself. The original float32 model is asked, never a copy. Errors: EscrimeError for NaN or infinity, see
    `check_finite`: a choice could not show them, as records do.
    """
    hashed = as_keys(keys)

    def part(rows: slice) -> Tensor:
        right = torch.zeros(len(samples), len(images[rows]))
        for draw in range(draws):
            look(averaging.copies * (rows.stop - rows.start) if draw else 0)  # Batches counts the first
            with row_keys(derive(hashed[rows], draw)), full_precision(images.device):
                logits = averaging.copied_logits(images[rows])
            check_finite(logits.flatten(0, 1), keys[rows] * len(logits))
            for at, n in enumerate(samples):
                right[at] += (logits[:n].logsumexp(dim=0).argmax(1) == labels[rows]).cpu()
        return right / draws

    return torch.cat(_in_batches(averaging, images, part), dim=1)


def check_finite(logits: Tensor, keys: list[tuple]) -> None:
    """NaN or infinity is neither right nor fooled: name the image (the second part of its key) and stop."""
    bad = (~logits.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise EscrimeError(not_finite(keys[bad[0]][1], f"({len(bad)} of {len(logits)} in its batch)", "that is no verdict"))


@torch.no_grad()
def draws_once_per_batch(model: nn.Module, image: Tensor, copies: int = 8) -> bool:
    """Whether a randomized model draws its noise once for a whole batch: copies of `image` (1, C, H, W) then
    differ between two batches, but hardly within one."""
    outputs = []
    for repeat in range(2):
        keys = [("draws_once_per_batch", copy, repeat) for copy in range(copies)]
        with no_trace(model, image.device), row_keys(keys):
            outputs.append(model(image.repeat(copies, 1, 1, 1)))
    within, between = ((outputs[0] - other).abs().max() for other in (outputs[0][:1], outputs[1]))
    return bool(within <= 0.01 * between)
