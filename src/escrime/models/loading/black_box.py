"""A classifier that can only be asked: scores or labels come back, no gradient does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...access import LABELS, SCORES
from ...errors import EscrimeError
from ..adapted import in_its_precision
from ..outputs import logits_in
from ..running import Classifier, check_logits, failure_named
from .fixed_batch import in_batches_of
from .loaded import USUAL_SIDE, Loaded


class BlackBox:
    """Images (N, 3, H, W) in [0, 1] → scores (N, K) on the device of the images, whatever `ask` works with.

    ask: float32 numpy images (N, 3, H, W) → scores (N, K), or integer labels (N,), which become one-hot scores of
    `classes` columns (None: as many as the largest label needs). batch: the only batch size that `ask` takes, None for any.
    """

    def __init__(self, ask: Callable, classes: int | None = None, batch: int | None = None):
        self.ask, self.classes, self.batch = ask, classes, batch

    def __call__(self, images: Tensor) -> Tensor:
        outputs = self.outputs(images.detach().cpu())
        if outputs.dim() == 1:
            count = self.classes or int(outputs.max()) + 1
            if int(outputs.min()) < 0 or int(outputs.max()) >= count:
                odd = int(outputs.min() if int(outputs.min()) < 0 else outputs.max())
                raise EscrimeError(
                    f"the model returned the label {odd} and is taken to have {count} classes, 0 to {count - 1}; name all its "
                    "classes, in order, with --classes FILE."
                )
            outputs = torch.eye(count)[outputs.long()]
        return outputs.float().to(images.device)

    def outputs(self, images: Tensor) -> Tensor:
        """What `ask` returns, scores (N, K) or labels (N,), in batches that it takes."""
        return in_batches_of(self.batch, self._query, images)

    def _query(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self._checked(self.ask(images.contiguous().numpy()), len(images)))

    @staticmethod
    def _checked(outputs: object, rows: int) -> np.ndarray:
        outputs = logits_in(outputs)
        outputs = outputs.detach().cpu().numpy() if isinstance(outputs, Tensor) else np.asarray(outputs)
        labels = outputs.ndim == 1 and outputs.dtype.kind in "iu"
        if len(outputs) != rows or not (labels or (outputs.ndim == 2 and outputs.dtype.kind == "f")):
            raise EscrimeError(
                f"the model returned {outputs.dtype} {outputs.shape} for {rows} images; a black box returns scores (N, K), "
                "floating-point, or labels (N,), integers."
            )
        return outputs


def black_box(
    ask: Callable,
    origin: str,
    classes: tuple[str, ...] | None,
    size: int | None,
    batch: int | None = None,
    side: int | None = None,
    fixed: bool = False,
) -> Loaded:
    """`ask` as a model: one gray image, of its `size` or else of `side` pixels, tells whether it returns scores or labels."""
    box = BlackBox(ask, len(classes) if classes else None, batch)
    side = size or side or USUAL_SIDE
    how = "it is called with float32 numpy images (N, 3, H, W) in [0, 1]; --size gives another H and W"
    with failure_named(f"{origin} fails on a gray image of {side} × {side} pixels", how):
        output = box.outputs(torch.full((1, 3, side, side), 0.5))
    return Loaded(box, origin, classes, None, size, LABELS if output.dim() == 1 else SCORES, fixed=fixed)


def count_labels(model: Any, count: int) -> None:
    """Tell a black box, itself or behind a normalization, how many classes there are, which labels alone do not."""
    while not isinstance(model, BlackBox):
        model = model.ask
    model.classes = count


class Queried:
    """A torch model behind a wall: its scores without gradients, or its decision alone as a one-hot score."""

    def __init__(self, model: Classifier, labels: bool):
        self.model, self.labels = model, labels

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        logits = check_logits(in_its_precision(self.model)(images.detach()), images)
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float() if self.labels else logits
