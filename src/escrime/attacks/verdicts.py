"""What the model says of whole sets of images between the steps of a search: one verdict, or a mean over noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.deadline import look
from ..models.running import Batches, check_logits, network_batch, passes_per_image
from ..models.twin import Twin
from ..randomness import derive, row_keys
from .problem import Problem, check_classes, report_not_finite


@torch.no_grad()
def clean_logits(twin: Twin, problem: Problem, keys: Tensor, draws: int = 1) -> tuple[Tensor, Tensor]:
    """The logits (N, K) of the problem's images, checked, and the forward passes (N,) they cost; see `expected`."""
    logits, spent = expected(twin, problem.images, keys, draws)
    check_classes(problem, logits.shape[1])
    report_not_finite(problem, ~logits.isfinite().all(1))
    return logits, spent


@torch.no_grad()
def expected(
    twin: Twin, x: Tensor, keys: Tensor, draws: int = 1, value: Callable[[Tensor, slice], Tensor] = lambda logits, at: logits
) -> tuple[Tensor, Tensor]:
    """The mean over `draws` of value(logits, rows), first dimension N, and the forward passes (N,) spent, on the CPU.

    With one draw that is a verdict, and the original's. A mean over noise, which no single answer decides, is the copy's.
    """
    copies = passes_per_image(twin.model)

    def part(at: slice) -> tuple[Tensor, Tensor]:
        total = 0.0
        for draw in range(draws):
            look(at.stop - at.start if draw else 0)  # the first is told by Batches
            drawn = derive(keys[at], draw)
            if draws == 1:
                logits = twin.ask(x[at], drawn)
            else:
                with row_keys(drawn):
                    logits = check_logits(twin.copy(x[at].clone()), x[at])
            total = total + value(logits, at) / draws
        return total, torch.full((at.stop - at.start,), float(copies * draws))

    parts = Batches(network_batch(x) // copies).map(part, len(x))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
