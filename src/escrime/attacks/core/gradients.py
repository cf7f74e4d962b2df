"""What an attack asks of a model, with expectation over its noise (EOT) in one batched forward: logits, the input gradient
of a loss, or the gradients of several logits."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...models.running import check_logits
from ...randomness import derive, row_keys


def draw_keys(keys: Tensor, draws: int) -> Tensor:
    """The keys (N·draws,) of every noise draw of every row, rows of one image adjacent."""
    return derive(keys.repeat_interleave(draws), torch.arange(draws).repeat(len(keys)))


def loss_gradient(
    model, x: Tensor, loss: Callable[[Tensor], Tensor], keys: Tensor, draws: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits (N, K), the loss (N,) and its gradient ∇ₓ E[loss] (N, C, H, W).

    `loss` maps logits (N·draws, K) to one value per row, rows of one image adjacent. With draws > 1 all three are means
    over the draws. Source of EOT: Athalye et al. (2018), Synthesizing robust adversarial examples.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad(), row_keys(draw_keys(keys, draws)):
        logits = _logits(model, x, draws)
        values = loss(logits)
        gradient = _gradient(values.sum(), x)
    return _mean(logits.detach(), draws), _mean(values.detach(), draws), gradient / draws if draws > 1 else gradient


@torch.no_grad()
def loss_only(model, x: Tensor, loss: Callable[[Tensor], Tensor], keys: Tensor, draws: int = 1) -> tuple[Tensor, Tensor]:
    """Return the logits (N, K) and the loss (N,), means over the draws; as `loss_gradient`, without a gradient."""
    with row_keys(draw_keys(keys, draws)):
        logits = _logits(model, x, draws)
        return _mean(logits, draws), _mean(loss(logits), draws)


def logit_gradients(
    model, x: Tensor, choose: Callable[[Tensor], Tensor], keys: Tensor, draws: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits (N, K), the chosen classes (N, M) and the gradients of their logits (N, M, C, H, W).

    `choose` maps the logits (N, K) to classes (N, M). One forward pass and M backward passes.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad(), row_keys(draw_keys(keys, draws)):
        logits = _mean(_logits(model, x, draws), draws)
        classes = choose(logits.detach())
        last = classes.shape[1] - 1
        columns = [
            _gradient(logits.gather(1, classes[:, m : m + 1]).sum(), x, retain_graph=m < last) for m in range(classes.shape[1])
        ]
    return logits.detach(), classes, torch.stack(columns, dim=1)


def finite(gradient: Tensor) -> Tensor:
    """The gradient, 0 where it is NaN or infinite: there an image does not move. It is no error, for the logits may be fine."""
    return gradient.nan_to_num(0.0, 0.0, 0.0)


def _gradient(value: Tensor, x: Tensor, retain_graph: bool = False) -> Tensor:
    """∂value/∂x; zero where the model cut the graph, which is a fact about the model and not an error."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value, x, retain_graph=retain_graph, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _logits(model, x: Tensor, draws: int) -> Tensor:
    """The model's logits (N·draws, K) in float32, whatever it computes in."""
    return check_logits(model(_repeat(x, draws)), x.detach().repeat_interleave(draws, dim=0) if draws > 1 else x)


def _repeat(x: Tensor, draws: int) -> Tensor:
    """Each row `draws` times; always a copy, because a model may write into what it is given."""
    return x.clone() if draws == 1 else x.repeat_interleave(draws, dim=0)


def _mean(values: Tensor, draws: int) -> Tensor:
    return values if draws == 1 else values.unflatten(0, (-1, draws)).mean(dim=1)
