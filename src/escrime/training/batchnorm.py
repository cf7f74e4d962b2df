"""What training mode makes of BatchNorm: whether a network that is fine-tuned bears the statistics of its batches.

In training mode BatchNorm normalizes by the statistics of the batch and moves its running ones towards them; in evaluation mode
it goes by the running ones. Where the two differ, the first step of training changes what the network computes more than all
steps of its weights: in a network whose BatchNorm was folded into its convolutions, in one that is shown other images than it
learned from, with batches of few images. Running statistics that hardly move never catch up with the weights.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import ImageSet
from ..models.fast.prepare import copied
from ..models.running import no_trace
from ..results.statistics import mcnemar, share_text
from .loader import Loader, epoch_order, steps_per_epoch
from .session import keeps_statistics
from .settings import TrainSettings

LOOKED = 128  # training images that tell
WORSE = 0.1  # of the images, or half of those that were right: what must be lost to count,
LESS_LIKELY = 0.69  # or nats: the right class is half as likely on (geometric) average
SURE = 0.05  # p, two-sided, of an exact paired test
STALE = 0.5  # share of the running statistics that may still be the old ones after the last step


@dataclass(frozen=True)
class BatchNormLook:
    """images: so many, of the training set, in batches of at most `batch`. as_it_is, in_training, after: share of them that is
    right with the running statistics, with those of the batches, and with the running ones that these leave behind, NaN where
    the network fails so. worse: whether one of the latter two is clearly worse, in accuracy or in loss. stale: the share of the
    running statistics that is still the old one after all steps of training."""

    images: int
    batch: int
    as_it_is: float
    in_training: float
    after: float
    worse: bool
    stale: float

    @property
    def reason(self) -> str:
        """Why BatchNorm should keep its running statistics, "" where it need not."""
        if self.worse:
            if math.isnan(self.in_training):
                return f"the model cannot be run with the statistics of batches of {self.batch}"
            return (
                f"with the statistics of batches of {self.batch}, as training computes them, the model gets "
                f"{share_text(min(self.in_training, self.after))} of {self.images} training images right, and "
                f"{share_text(self.as_it_is)} with its own"
            )
        if self.stale > STALE:
            return (
                f"its running statistics move so slowly that {self.stale:.0%} of them would still be the old ones after the "
                "last step, while the weights go on"
            )
        return ""


def look_at_batchnorm(
    model: nn.Module, data: ImageSet, settings: TrainSettings, *, seed: int, device: torch.device
) -> BatchNormLook | None:
    """What the statistics of the batches of the first epoch would make of `model`, without any step of its weights; None for a
    network that keeps no running statistics. It is asked about LOOKED images of `data` three times, and left as it was.

    Shapes: the images of `data` are uint8 (N, 3, H, W), as the model takes them once they are in [0, 1].
    """
    if not any(map(keeps_statistics, model.modules())):
        return None
    trial = copied(model).to(device)
    loader = Loader(data, device, side=settings.crop_size)
    smallest_first = list(epoch_order(len(data), seed, 0, settings.batch_size))[::-1]
    batches = smallest_first[: max(2, -(-LOOKED // settings.batch_size))]
    old = _stale(trial, settings.epochs * steps_per_epoch(len(data), settings.batch_size))
    with no_trace(trial, device), torch.no_grad():
        before = _losses(trial, loader, batches)
        _normalizing_by_batches(trial, True)
        try:
            during = _losses(trial, loader, batches)
        except ValueError:  # one value per channel, which has no statistics
            count, right = len(before[0]), float(before[0].mean())
            return BatchNormLook(count, settings.batch_size, right, float("nan"), float("nan"), True, old)
        _normalizing_by_batches(trial, False)
        after = _losses(trial, loader, batches)
    worse = any(_clearly_worse(before, changed) for changed in (during, after))
    first, then, last = (float(right.mean()) for right, _ in (before, during, after))
    return BatchNormLook(len(before[0]), settings.batch_size, first, then, last, worse, old)


def _normalizing_by_batches(model: nn.Module, batches: bool) -> None:
    for module in filter(keeps_statistics, model.modules()):
        module.training = batches


def _losses(model: nn.Module, loader: Loader, batches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(whether the prediction is right, 0/1, cross-entropy) of every image of the batches, each (n,)."""
    right, losses = list[Tensor](), list[Tensor]()
    for rows in batches:
        images, labels = loader.images(rows)
        logits = model(images).float()
        right.append((logits.argmax(1) == labels).float().cpu())
        losses.append(F.cross_entropy(logits, labels, reduction="none").nan_to_num(nan=float("inf")).cpu())
    return torch.cat(right).numpy(), torch.cat(losses).numpy()


def _clearly_worse(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> bool:
    """Beyond chance, and by what matters."""
    right, now = before[0], after[0]
    if right.mean() - now.mean() >= min(WORSE, right.mean() / 2) and mcnemar(right, now) < SURE and now.sum() < right.sum():
        return True
    rose = after[1] > before[1]
    return bool(np.mean(after[1]) - np.mean(before[1]) >= LESS_LIKELY and mcnemar(rose, ~rose) < SURE and rose.mean() > 0.5)


def _stale(model: nn.Module, steps: int) -> float:
    """The largest share of any module's running statistics that so many steps leave as they were."""
    shares = [0.0]
    for module in filter(keeps_statistics, model.modules()):
        momentum, seen = getattr(module, "momentum", 0.1), getattr(module, "num_batches_tracked", None)
        if momentum is None:  # the average of all batches ever
            count = 0.0 if seen is None else float(seen)
            shares.append(count / (count + steps) if count else 0.0)
        elif isinstance(momentum, (int, float)):
            shares.append((1 - momentum) ** steps)
    return max(shares)
