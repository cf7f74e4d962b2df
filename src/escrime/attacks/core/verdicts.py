"""What the model says of whole sets of images between the steps of a search: one verdict, or a mean over noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...models.deadline import look
from ...models.fast.twin import Twin
from ...models.running import Batches, check_logits, network_batch, passes_per_image
from ...randomness import derive, row_keys
from .gradients import draw_keys
from .inputs import Inputs, check_classes, report_not_finite
from .losses import shortfall
from .rows import Rows

CERTAIN = 150  # fresh draws, all of which succeed: with 95 % confidence at most 2 % of all draws do not (0.05^(1/150) = .98)


@torch.no_grad()
def clean_logits(twin: Twin, inputs: Inputs, keys: Tensor, draws: int = 1) -> tuple[Tensor, Tensor]:
    """The logits (N, K) of the problem's images, checked, and the forward passes (N,) they cost; see `expected`."""
    logits, spent = expected(twin, inputs.images, keys, draws)
    check_classes(inputs, logits.shape[1])
    report_not_finite(inputs, ~logits.isfinite().all(1))
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


@torch.no_grad()
def certain(twin: Twin, x: Tensor, inputs: Inputs | Rows, keys: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Which of x (N, C, H, W) succeed in each of CERTAIN draws from `keys` (N,), (N,) bool, and the draws (N,) that took, both
    on the CPU: an image is asked about, ever more draws at a time, until one of them fails.

    problem: the labels and targets of x. limit: rows that the copy, of whose noise this is an average, takes at a time.
    """
    spent, found = torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.bool)
    rows, asked, number = torch.arange(len(x)), 0, 4
    while asked < CERTAIN and len(rows):
        draws = min(number, CERTAIN - asked)

        def part(at: slice, draws=draws, asked=asked, rows=rows) -> Tensor:
            some = rows[at].to(x.device)
            pixels, labels = x[some].repeat_interleave(draws, dim=0), inputs.labels[some].repeat_interleave(draws)
            targets = None if inputs.targets is None else inputs.targets[some].repeat_interleave(draws)
            with row_keys(draw_keys(derive(keys[rows[at]], asked), draws)):
                logits = check_logits(twin.copy(pixels), pixels)
            return (shortfall(logits, labels, targets) < 0).view(-1, draws).all(1).cpu()

        spent[rows] += draws
        rows = rows[torch.cat(Batches(limit // draws).map(part, len(rows)))]
        asked, number = asked + draws, 2 * number
    found[rows] = True
    return found, spent
