"""What an objective knows about a batch besides images and labels, and the loss all objectives share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import logits_and_auxiliary
from .draws import Draws, image_keys

AUXILIARY_WEIGHT = 0.3  # of each auxiliary classifier (Szegedy et al., 2015, section 5)


@dataclass
class Tally:
    """Right answers among the images the loss has seen, kept on the device so that counting never waits for it."""

    clean_right: Tensor | int = 0
    clean_seen: int = 0
    adversarial_right: Tensor | int = 0
    adversarial_seen: int = 0

    def add(self, logits: Tensor, labels: Tensor, clean: int) -> None:
        """Count `logits` (N, K) against `labels` (N,); the first `clean` rows are clean images, the rest adversarial."""
        right = logits.detach().argmax(dim=1) == labels
        self.clean_right = self.clean_right + right[:clean].sum()
        self.adversarial_right = self.adversarial_right + right[clean:].sum()
        self.clean_seen += clean
        self.adversarial_seen += len(labels) - clean

    def accuracies(self, total: Callable[[list[float]], list[float]] = list) -> tuple[float, float]:
        """(clean, adversarial) accuracy in [0, 1]; NaN for a kind the loss never saw. total: adds up several processes."""
        counts = [self.clean_right, self.clean_seen, self.adversarial_right, self.adversarial_seen]
        clean_right, clean_seen, right, seen = total([float(count) for count in counts])
        return clean_right / clean_seen if clean_seen else math.nan, right / seen if seen else math.nan


@dataclass
class Context:
    """One batch of one epoch.

    rows: positions of the batch's images in the training set, (N,); draws: the epoch's random numbers;
    classes: K; label_smoothing: of the loss; tally: what the epoch counts.
    """

    rows: np.ndarray
    draws: Draws
    classes: int
    label_smoothing: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, ids: Sequence[str], *, classes: int, seed: int = 0, epoch: int = 0, label_smoothing: float = 0.0):
        """A context for a batch of images named `ids`: objectives can be called without `fit`."""
        return cls(np.arange(len(ids)), Draws(image_keys(seed, ids), epoch), classes, label_smoothing)

    def fractions(self, purpose: str, like: Tensor) -> Tensor:
        """Per image, uniform in [0, 1), shape (N,), type and device of `like`."""
        return torch.from_numpy(self.draws.fractions(purpose, self.rows)).to(like.device, like.dtype)

    def noise(self, purpose: str, like: Tensor) -> Tensor:
        """Per image and pixel, uniform in [-1, 1), shape, type and device of `like` (N, C, H, W)."""
        return self.draws.noise(purpose, self.rows, like)

    def other_classes(self, labels: Tensor) -> Tensor:
        """Per image a random class that is not its label, shape (N,)."""
        jump = 1 + (self.draws.fractions("other-class", self.rows) * (self.classes - 1)).astype(np.int64)
        return (labels + torch.from_numpy(jump).to(labels.device)) % self.classes

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor, *, clean: int) -> Tensor:
        """Mean cross-entropy, plus 0.3 of that of each auxiliary head; a scalar.

        Shapes: images (N, C, H, W), labels (N,); the first `clean` images are clean, the others adversarial (only the
        log cares). This is the one forward pass of the step in training mode.
        """
        logits, auxiliary = self.forward(model, images, labels, clean=clean)
        return self.cross_entropy(logits, auxiliary, labels)

    def forward(self, model: nn.Module, images: Tensor, labels: Tensor, *, clean: int) -> tuple[Tensor, list[Tensor]]:
        """(logits (N, K), auxiliary logits) of the training forward, counted in the tally; see `loss`."""
        logits, auxiliary = logits_and_auxiliary(model, images)
        self.tally.add(logits, labels, clean)
        return logits, list(auxiliary)

    def cross_entropy(self, logits: Tensor, auxiliary: Sequence[Tensor], labels: Tensor) -> Tensor:
        """J(logits) + 0.3 Σ J(auxiliary logits), each a mean over images, with the run's label smoothing."""
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        for head in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(head, labels, label_smoothing=self.label_smoothing)
        return loss
