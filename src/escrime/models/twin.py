"""A model and its faster copy: attacks run on the copy, and nothing counts that the original would not say too."""

import torch
from torch import Tensor, nn

from ..errors import EscrimeError
from ..randomness import row_keys
from .first_call import SAME
from .prepare import prepare
from .running import check_logits, full_precision, rounds

SAFETY = 10  # an answer stands on the copy when its logit margin is this many times the measured gap
PROBE = 8  # answers compared before the gap counts as measured
PRECISIONS = ("float32", "bfloat16")


class Twin:
    """`copy` only reorders the arithmetic of `model`; `gap` is the largest difference between their logits seen.

    The gap is measured on the way: the first answers are asked of both, and every answer too close to call is asked of
    the original, which measures it again. Where a GPU rounds to TensorFloat-32 no gap holds for other batches, and the
    original, which never does, is asked about every success. A plain callable, or a module that cannot be copied, is its
    own copy; so is a model whose copy turns out to compute something else, and its answers are asked for twice.

    precision: "bfloat16" runs the copy under autocast, for GPUs with tensor cores (a CPU without AMX is slower so); such a
    copy does more than reorder, so the original is asked about every success. compiled: torch.compile the copy, which
    takes a minute and pays on long GPU runs. Give a Twin to an attack in place of the model.
    """

    def __init__(self, model, copy=None, *, precision: str = "float32", compiled: bool = False):
        if precision not in PRECISIONS:
            raise EscrimeError(f"precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}.")
        self.model, self.gap, self.compared, self.wrong = model, 0.0, 0, False
        self.reorders = precision == "float32"
        if copy is None:
            try:
                copy = prepare(model) if isinstance(model, nn.Module) else model
            except EscrimeError:  # it cannot be copied
                copy = model
        if isinstance(copy, nn.Module) and compiled:
            copy = torch.compile(copy)
        self.copy = copy if self.reorders else _autocast(copy)

    @property
    def exact(self) -> bool:
        """Whether there is nothing to verify: the copy is the model itself."""
        return self.copy is self.model and not self.wrong

    def stands(self, device: torch.device) -> bool:
        """Whether an answer of the copy can be clear enough to count."""
        return self.reorders and not rounds(device) and not self.wrong

    def doubtful(self, logits: Tensor) -> Tensor:
        """Which answers (N, K) of the copy do not stand on their own, (N,) bool: close ones, NaN, all before the gap is
        known."""
        if self.exact:
            return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        if self.compared < PROBE or logits.shape[1] < 2 or not self.stands(logits.device):
            return torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        first, second = logits.topk(2, dim=1).values.unbind(1)
        return ~(first - second >= SAFETY * self.gap)  # the negation also catches NaN

    @torch.no_grad()
    def original(self, images: Tensor, keys: Tensor, said: Tensor) -> Tensor:
        """The original's logits (N, K) for `images`, of which the copy `said` (N, K); both saw the noise of `keys`."""
        with row_keys(keys), full_precision(images.device):
            logits = check_logits(self.model(images.clone()), images)  # a model may write into what it is given
        gaps = (logits - said).abs()
        gap = float(torch.where(gaps.isfinite(), gaps, 0).max())
        self.gap = max(self.gap, gap)
        if self.stands(images.device) and gap > SAME * float(logits.abs().max()):
            # It computes another function, whose gradients would mislead. What it has said so far the original says again.
            self.copy, self.wrong = self.model, True
        self.compared += len(images)
        return logits

    def settle(self, images: Tensor, logits: Tensor, keys: Tensor, claimed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Put the original's logits in place of the copy's wherever these do not stand; also say where, (N,) bool on CPU.

        claimed (N,): the rows that matter, default all. One wait for the device, two while the gap is being measured.
        """
        open_rows = torch.ones(len(logits), dtype=torch.bool, device=logits.device) if claimed is None else claimed
        asked = torch.zeros(len(logits), dtype=torch.bool)
        while not self.exact:
            rows = ((open_rows & self.doubtful(logits)).cpu() & ~asked).nonzero().flatten()
            if self.compared < PROBE:
                rows = rows[: PROBE - self.compared]
            if not len(rows):
                break
            at = rows.to(logits.device)
            truth = self.original(images[at], keys[rows], logits[at])
            logits = logits.index_copy(0, at, truth.to(logits.dtype))
            asked[rows] = True
        return logits, asked

    @torch.no_grad()
    def logits(self, images: Tensor, keys: Tensor) -> Tensor:
        """Logits (N, K): the copy's where the answer is beyond doubt, the original's for every closer image."""
        if self.exact or not self.stands(images.device):
            with row_keys(keys), full_precision(images.device):
                return self.model(images.clone())
        with row_keys(keys):
            logits = self.copy(images.clone())
        return self.settle(images, logits, keys)[0]


def _autocast(copy):
    """`copy` in bfloat16, its logits in float32."""

    def classify(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return copy(images).float()

    return classify
