"""What the model predicts for whole sets of images between the steps of a search: once, or as a mean over noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...models.deadline import look
from ...models.fast.twin import Twin
from ...models.running import Batches, check_logits, passes_per_image
from ...randomness import derive, row_keys
from .gradients import draw_keys
from .inputs import Inputs, check_classes, report_not_finite
from .losses import shortfall
from .rows import Rows

CERTAIN = 150  # fresh draws, all of which succeed: with 95 % confidence at most 2 % of all draws do not (0.05^(1/150) = .98)


@torch.no_grad()
def clean_logits(twin: Twin, inputs: Inputs, keys: Tensor, draws: int = 1) -> tuple[Tensor, Tensor]:
    """The logits of the clean images, checked.

    Args:
        twin: The model and its copy.
        inputs: The images.
        keys: Of the noise of each image, int64 (N,).
        draws: Noise draws averaged, see `expected`.

    Returns:
        The logits (N, K) and the forward passes (N,) they cost.

    Raises:
        EscrimeError: For labels that the model does not have, and logits that are not finite.
    """
    logits, spent = expected(twin, inputs.images, keys, draws)
    check_classes(inputs, logits.shape[1])
    report_not_finite(inputs, ~logits.isfinite().all(1))
    return logits, spent


@torch.no_grad()
def expected(
    twin: Twin, x: Tensor, keys: Tensor, draws: int = 1, value: Callable[[Tensor, slice], Tensor] = lambda logits, at: logits
) -> tuple[Tensor, Tensor]:
    """The mean over noise draws of a value of the logits. A single draw is the original's, for it decides; a mean over noise,
    which no single draw decides, is the copy's.

    Args:
        twin: The model and its copy.
        x: Images, float32 (N, C, H, W).
        keys: Of the noise of each image, int64 (N,).
        draws: How many noise draws.
        value: (logits of some rows, which rows) → a tensor with the rows first; by default the logits.

    Returns:
        The mean, first dimension N, and the forward passes (N,) spent, on the CPU.
    """
    copies = passes_per_image(twin.model)

    def part(at: slice) -> tuple[Tensor, Tensor]:
        total = torch.zeros(())
        for draw in range(draws):
            look(copies * (at.stop - at.start) if draw else 0)  # Batches reports the first
            drawn = derive(keys[at], draw)
            if draws == 1:
                logits = twin.ask(x[at], drawn)
            else:
                with row_keys(drawn):
                    logits = check_logits(twin.copy(x[at].clone()), x[at])
            total = total + value(logits, at) / draws
        return total, torch.full((at.stop - at.start,), float(copies * draws))

    values, spent = zip(*Batches.of(x, copies).map(part, len(x)), strict=True)
    return torch.cat(values), torch.cat(spent)


@torch.no_grad()
def certain(twin: Twin, x: Tensor, inputs: Inputs | Rows, keys: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Which images succeed in each of CERTAIN noise draws: ever more draws at a time, until one of them fails.

    Args:
        twin: The model and its copy; the draws are the copy's.
        x: Images, float32 (N, C, H, W).
        inputs: Their labels and targets.
        keys: Of the noise of each image, int64 (N,).
        limit: Rows that the copy takes at a time.

    Returns:
        Which succeed, (N,) bool, and the draws (N,) that took, both on the CPU.
    """
    spent, found = torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.bool)
    rows, asked, number = torch.arange(len(x)), 0, 4
    while asked < CERTAIN and len(rows):
        draws = min(number, CERTAIN - asked)

        def part(at: slice, draws: int = draws, asked: int = asked, rows: Tensor = rows) -> Tensor:
            some = rows[at].to(x.device)
            pixels, labels = x[some].repeat_interleave(draws, dim=0), inputs.labels[some].repeat_interleave(draws)
            targets = None if inputs.targets is None else inputs.targets[some].repeat_interleave(draws)
            with row_keys(draw_keys(derive(keys[rows[at]], asked), draws)):
                logits = check_logits(twin.copy(pixels), pixels)
            return (shortfall(logits, labels, targets) < 0).view(-1, draws).all(1).cpu()

        spent[rows] += draws
        rows = rows[torch.cat(Batches(limit // draws, draws * passes_per_image(twin.model)).map(part, len(rows)))]
        asked, number = asked + draws, 2 * number
    found[rows] = True
    return found, spent
