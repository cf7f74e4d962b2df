"""The input gradient of a loss, with expectation over a randomized model's noise (EOT) in one batched forward."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..randomness import row_keys


def loss_gradient(
    model, x: Tensor, loss: Callable[[Tensor], Tensor], keys: Sequence[tuple], draws: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits (N, K), the loss (N,) and its gradient ∇ₓ E[loss] (N, C, H, W).

    `loss` maps logits (N·draws, K) to one value per row, rows of one image adjacent. Row i draws noise number d from
    `(*keys[i], d)`. With draws > 1 all three are means over the draws.
    Source of EOT: Athalye et al. (2018), Synthesizing robust adversarial examples.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad(), row_keys([(*key, draw) for key in keys for draw in range(draws)]):
        rows = x if draws == 1 else x.repeat_interleave(draws, dim=0)
        logits = model(rows)
        values = loss(logits)
        (gradient,) = torch.autograd.grad(values.sum(), x)
    logits, values = logits.detach(), values.detach()
    if draws > 1:
        logits, values = (t.unflatten(0, (-1, draws)).mean(dim=1) for t in (logits, values))
        gradient = gradient / draws
    return logits, values, gradient
