"""A model and its faster copy: attacks run on the copy, what counts is what the original predicts."""

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EscrimeError
from ...randomness import row_keys
from ...validation import check_choice
from ..adapted import in_its_precision, weights_type
from ..running import Classifier, check_logits, full_precision, out_of_memory, rounds
from .first_call import SAME
from .prepare import copied, prepare

SAFETY = 10  # an output of the copy counts when its logit margin is this many times the measured difference
PROBE = 8  # outputs compared before the difference counts as measured
EVERY = 32  # later on, one output in so many is compared
FLOOR = 32 * torch.finfo(torch.float32).eps  # the least difference, relative to the largest logit of an image
CLOSE = 1e-3  # a margin relative to the largest logit; batches of other sizes move well-conditioned logits by about 1e-6
PRECISIONS = ("float32", "bfloat16")


class Twin:
    """`copy` only reorders the arithmetic of `model`; `difference` is the largest difference between their logits seen.

    Attacks step along the copy. What ends a job of an attack, what it returns as a success, and every logit of `logits`,
    from which records are made, is the original's: "robust" from a copy that errs would be as false as "fooled". Where the
    copy may speak is the ranking of iterates within a search, and there only beyond SAFETY times the difference, which is never
    taken for less than FLOOR of the logits' size: it is measured on the first outputs and on all that the original is asked
    about later, but a copy may be off elsewhere. Where a GPU rounds to TensorFloat-32 no difference holds for other batches,
    and the original, which never does, is asked there too. A plain callable, or a module that cannot be copied, is its own
    copy; so is a model whose copy turns out to compute something else.

    precision: "bfloat16" runs the copy under autocast, for GPUs with tensor cores (a CPU without AMX is slower so); such a
    copy does more than reorder, so the original is asked about every success. compiled: torch.compile the copy, which
    takes a minute and pays on long GPU runs. A model whose weights are not float32 is asked in its own precision, and its copy
    is in float32. Give a Twin to an attack in place of the model.
    """

    def __init__(
        self, model: Classifier, copy: Classifier | None = None, *, precision: str = "float32", compiled: bool = False
    ):
        check_choice("precision", precision, PRECISIONS)
        model = in_its_precision(model)
        self.model, self.difference, self.compared, self.wrong = model, 0.0, 0, False
        self.reorders = precision == "float32" and weights_type(model) in (None, torch.float32)
        if copy is None:
            try:
                copy = _copy_of(model) if isinstance(model, nn.Module) else model
            except EscrimeError:  # it cannot be copied
                copy = model
        if isinstance(copy, nn.Module) and compiled:
            copy = torch.compile(copy)
        self.copy = copy if precision == "float32" else _autocast(copy)

    @property
    def exact(self) -> bool:
        """Whether there is nothing to verify: the copy is the model itself."""
        return self.copy is self.model and not self.wrong

    def stands(self, device: torch.device) -> bool:
        """Whether an output of the copy can be clear enough to count."""
        return self.reorders and not rounds(device) and not self.wrong

    def uncertain(self, logits: Tensor) -> Tensor:
        """Which outputs (N, K) of the copy do not count on their own, (N,) bool: close ones, NaN, all before the difference is
        known."""
        if self.exact:
            return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        if self.compared < PROBE or logits.shape[1] < 2 or not self.stands(logits.device):
            return torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        least = SAFETY * logits.detach().abs().amax(1).mul(FLOOR).clamp_min(self.difference)
        return ~(margins(logits) >= least)  # the negation also catches NaN

    @torch.no_grad()
    def original(self, images: Tensor, keys: Tensor, copied: Tensor) -> Tensor:
        """The original's logits (N, K) for `images`; `copied` (N, K) are the copy's, under the same noise of `keys`."""
        logits = self.ask(images, keys)
        self._compare(logits, copied)
        return logits

    @torch.no_grad()
    def ask(self, images: Tensor, keys: Tensor) -> Tensor:
        """The original's logits (N, K), in one pass."""
        with row_keys(keys), full_precision(images.device):
            return check_logits(self.model(images.clone()), images)  # a model may write into what it is given

    def _compare(self, logits: Tensor, copied: Tensor) -> None:
        """Widen the difference to that between the original's logits (N, K) and those `copied`, of the copy."""
        differences = (logits - copied).abs()
        difference = float(torch.where(differences.isfinite(), differences, 0).max())
        self.difference = max(self.difference, difference)
        if self.stands(logits.device) and difference > SAME * float(logits.abs().max()):
            # It computes another function, whose gradients would mislead. The original is asked again what it predicted so far.
            self.copy, self.wrong = self.model, True
        self.compared += len(logits)

    def verify(
        self, images: Tensor, logits: Tensor, keys: Tensor, claimed: Tensor | None = None, final: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put the original's logits in place of the copy's wherever these do not count; return also where, (N,) bool on CPU.

        claimed (N,): the rows that matter, default all. final (N,): those of them for which only the original's will do.
        One wait for the device, two while the difference is being measured.
        """
        open_rows = torch.ones(len(logits), dtype=torch.bool, device=logits.device) if claimed is None else claimed
        asked = torch.zeros(len(logits), dtype=torch.bool)
        while not self.exact:
            needed = self.uncertain(logits) if final is None else self.uncertain(logits) | final
            rows = ((open_rows & needed).cpu() & ~asked).nonzero().flatten()
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
    def logits(self, images: Tensor, keys: Tensor, *, mean: bool = False) -> Tensor:
        """The original's logits (N, K). Those too close to call are asked for alone, so that what is recorded of an image
        does not hang on the rounding of the batch it was in; where that changes more than rounding does, all are.

        mean: they go into an average over noise, which no single rounding decides.
        """
        logits = self.ask(images, keys)
        self._spot_check(images, keys, logits)
        if mean or len(images) == 1:
            return logits
        logits = logits.clone()  # the model may keep what it returns
        rows, asked = close(logits), torch.zeros(len(logits), dtype=torch.bool)
        while todo := (rows & ~asked).nonzero().flatten().tolist():
            for row in todo:
                single = self.ask(images[row : row + 1], keys[row : row + 1])
                size = float(logits[row].abs().max())
                if not float((single[0] - logits[row]).abs().max()) <= CLOSE / SAFETY * size:  # more than rounding, or NaN
                    rows = torch.ones_like(rows)
                logits[row] = single[0]
            asked[todo] = True
        return logits

    def _spot_check(self, images: Tensor, keys: Tensor, logits: Tensor) -> None:
        """Compare the copy with the original's `logits` on the first images and on some of all later ones."""
        if self.exact or not self.stands(images.device):
            return
        some = slice(0, PROBE) if self.compared < PROBE else slice(self.compared % EVERY, None, EVERY)
        if len(images[some]):
            with row_keys(keys[some]):
                copied = check_logits(self.copy(images[some].clone()), images[some])
            self._compare(logits[some], copied)


def margins(logits: Tensor) -> Tensor:
    """How far (N,) the largest logit of each row lies above the second."""
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return first - second


def close(logits: Tensor) -> Tensor:
    """Which rows (N,), on the CPU, another order of the same arithmetic could decide otherwise."""
    if logits.shape[1] < 2:
        return torch.zeros(len(logits), dtype=torch.bool)
    return (margins(logits) < CLOSE * logits.abs().amax(1)).cpu()


class InFloat32(nn.Module):
    """A copy in float32 of a network of another precision, whose gradients neither overflow nor vanish; from the first call on
    that it fails, as where the network itself turns what it is given into its own precision, the network in its place."""

    def __init__(self, copy: nn.Module, model: nn.Module):
        super().__init__()
        self.copy, self.model, self.fails = copy, model, False

    def forward(self, images: Tensor) -> Any:
        if not self.fails:
            try:
                return self.copy(images.clone())  # it may write into them before it fails
            except RuntimeError as error:
                if out_of_memory(error):
                    raise
                self.fails = True
        return self.model(images)


def _copy_of(model: nn.Module) -> nn.Module:
    """The faster copy of a model, in float32."""
    if weights_type(model) in (None, torch.float32):
        return prepare(model)
    return InFloat32(prepare(copied(model).float()), model)


def _autocast(copy: Classifier) -> Classifier:
    """`copy` in bfloat16, its logits in float32."""

    def classify(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return copy(images).float()

    return classify
