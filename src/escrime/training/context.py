"""What an objective knows about a batch besides images and labels, and the loss all objectives share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import EscrimeError
from ..models import logits_and_auxiliary
from .noise import EpochNoise, image_keys
from .teacher import Teacher

AUXILIARY_WEIGHT = 0.3  # of each auxiliary classifier (Szegedy et al., 2015, section 5)


@dataclass
class Tally:
    """Right predictions among the images the loss has seen, kept on the device so that counting never waits for it."""

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
    classes: K; label_smoothing: of the loss; tally: what the epoch counts. teacher: whose outputs the loss compares with,
    for the images last given to `show`.
    """

    rows: np.ndarray
    draws: EpochNoise
    classes: int
    label_smoothing: float = 0.0
    tally: Tally = field(default_factory=Tally)
    teacher: Teacher | None = None
    _shown: Tensor | None = field(default=None, init=False, repr=False)
    _answers: Tensor | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, ids: Sequence[str], *, classes: int, seed: int = 0, epoch: int = 0, label_smoothing: float = 0.0) -> Self:
        """A context for a batch of images named `ids`: objectives can be called without `fit`."""
        return cls(np.arange(len(ids)), EpochNoise(image_keys(seed, ids), epoch), classes, label_smoothing)

    def show(self, images: Tensor) -> None:
        """What the teacher, if there is one, is asked about: images (N, C, H, W) as they are now. `fit` shows the batch; an
        objective that gives the network other images of which the loss is to be told, such as mixtures, shows those."""
        if self.teacher is not None:
            # In the memory that every network takes; the teacher may write into them.
            self._shown, self._answers = images.detach().clone(memory_format=torch.contiguous_format), None

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
        """J(logits) + 0.3 Σ J(auxiliary logits), each a mean over images, with the run's label smoothing; J compares with
        the teacher's outputs too where there is one (see teacher.py).

        With a teacher, logits (N, K) or (k·N, K): those of the batch's N images in order, k times over.
        """
        taught = self._taught(len(logits)) if self.teacher is not None else None
        loss = self._term(logits, labels, taught)
        for head in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self._term(head, labels, taught)
        return loss

    def _term(self, logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        own = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return own if taught is None or self.teacher is None else self.teacher.loss(taught, logits, own)

    def _taught(self, count: int) -> Tensor:
        """The teacher's logits for `count` images."""
        assert self.teacher is not None and self._shown is not None  # `fit` shows every batch
        times, rest = divmod(count, len(self._shown))
        if rest:
            raise EscrimeError(
                f"with a teacher, the objective's loss is over all {len(self._shown)} images of the batch, or over all of "
                f"them several times; this one's is over {count} images."
            )
        if self._answers is None:  # here, so that an objective that compares with labels alone costs no teacher
            self._answers = self.teacher.logits(self._shown)
        return self._answers.repeat(times, 1)


LossFunction = Callable[[nn.Module, Tensor, Tensor, Context], Tensor]  # (model, images, labels, context) → scalar loss
