"""A model and its faster copy: gradients come from the copy, and so do verdicts that are clear by a wide margin."""

from dataclasses import dataclass

from torch import Tensor, nn

from ..attacks.problem import no_trace
from ..models import numerical_gap, prepare
from ..randomness import row_keys

SAFETY = 10  # a verdict stands on the copy when its logit margin is this many times the measured gap
PROBE = 16  # images on which the gap is measured


@dataclass(frozen=True)
class Twin:
    """`copy` only reorders the arithmetic of `model`; `gap` is the largest difference between their logits seen."""

    model: nn.Module
    copy: nn.Module
    gap: float

    @classmethod
    def of(cls, model: nn.Module, images: Tensor) -> "Twin":
        """The twin of `model`, its gap measured on the first of `images` (N, C, H, W)."""
        if not isinstance(model, nn.Module):
            return cls(model, model, float("inf"))
        copy, probe = prepare(model), images[:PROBE]
        with no_trace(model, images.device), row_keys([("gap", i) for i in range(len(probe))]):
            return cls(model, copy, numerical_gap(model, copy, probe))

    def logits(self, images: Tensor, keys: list[tuple]) -> Tensor:
        """Logits (N, K): the copy's where the prediction is beyond doubt, the original's for every closer image."""
        if self.gap == float("inf"):
            with row_keys(keys):
                return self.model(images)
        with row_keys(keys):
            logits = self.copy(images)
        if logits.shape[1] < 2:
            return logits
        first, second = logits.topk(2, dim=1).values.unbind(1)
        # The negation also catches NaN.
        doubtful = ~(first - second >= SAFETY * self.gap)
        rows = doubtful.nonzero().flatten()
        if len(rows):
            with row_keys([keys[i] for i in rows.tolist()]):
                logits[rows] = self.model(images[rows]).to(logits.dtype)
        return logits
