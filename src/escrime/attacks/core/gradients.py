"""What an attack asks of a model: logits, the input gradient of a loss, or the gradients of several logits.

Of a randomized model they are means over noise draws ξ₁ … ξ_n in one batched forward pass, expectation over transformation
(EOT): ∇ₓ E_ξ[L(f(x; ξ))] ≈ 1/n · Σᵢ ∇ₓ L(f(x; ξᵢ)). Source: Athalye, Engstrom, Ilyas, Kwok (2018), Synthesizing robust
adversarial examples, section 2.1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ...models.running import Classifier, check_logits
from ...randomness import derive, row_keys


def draw_keys(keys: Tensor, draws: int) -> Tensor:
    """The keys of the noise of every draw of every row.

    Args:
        keys: Of the rows, int64 (N,).
        draws: Noise draws for each row.

    Returns:
        int64 (N·draws,), those of one row adjacent.
    """
    return derive(keys.repeat_interleave(draws), torch.arange(draws).repeat(len(keys)))


@torch.enable_grad()
def input_gradient(model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """∇ₓ loss(model(x)) of a network of escrime's own making or training, whose outputs are not checked; no mode is changed.

    Args:
        model: Images (N, C, H, W) → logits (N, K).
        x: The images, float32 (N, C, H, W).
        loss: Logits (N, K) → one value, a sum over images.

    Returns:
        (N, C, H, W).
    """
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(model(_repeat(x, 1))), x)
    return gradient


def loss_gradient(
    model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor], keys: Tensor, draws: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, loss and the input gradient ∇ₓ E_ξ[loss(model(x; ξ))], by EOT: 1/n · Σᵢ ∇ₓ loss(model(x; ξᵢ)), see above.

    Args:
        model: Images (N, C, H, W) → logits (N, K).
        x: The images, float32 (N, C, H, W).
        loss: Logits (N·draws, K) → one value per row, (N·draws,), rows of one image adjacent.
        keys: Of the noise of each image, int64 (N,).
        draws: n, noise draws per image; 1 for a deterministic model.

    Returns:
        The logits (N, K), the loss (N,) and its gradient (N, C, H, W), each the mean over the draws.

    Raises:
        EscrimeError: For a model that does not return logits (N·draws, K).
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad(), row_keys(draw_keys(keys, draws)):
        logits = _logits(model, x, draws)
        values = loss(logits)
        gradient = _gradient(values.sum(), x)
    return _mean(logits.detach(), draws), _mean(values.detach(), draws), gradient / draws if draws > 1 else gradient


@torch.no_grad()
def loss_only(
    model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor], keys: Tensor, draws: int = 1
) -> tuple[Tensor, Tensor]:
    """As `loss_gradient`, without a gradient.

    Args:
        model: As there.
        x: As there.
        loss: As there.
        keys: As there.
        draws: As there.

    Returns:
        The logits (N, K) and the loss (N,), means over the draws.

    Raises:
        EscrimeError: As there.
    """
    with row_keys(draw_keys(keys, draws)):
        logits = _logits(model, x, draws)
        return _mean(logits, draws), _mean(loss(logits), draws)


def logit_gradients(
    model: Classifier, x: Tensor, choose: Callable[[Tensor], Tensor], keys: Tensor, draws: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of several logits, by one forward pass and M backward passes.

    Args:
        model: As in `loss_gradient`.
        x: As there.
        choose: Logits (N, K) → the classes (N, M) whose logits are differentiated.
        keys: As there.
        draws: As there.

    Returns:
        The logits (N, K), the chosen classes (N, M) and the gradients of their logits (N, M, C, H, W), means over the draws.

    Raises:
        EscrimeError: As there.
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


def _logits(model: Classifier, x: Tensor, draws: int) -> Tensor:
    """The model's logits (N·draws, K) in float32, whatever it computes in."""
    return check_logits(model(_repeat(x, draws)), x.detach().repeat_interleave(draws, dim=0) if draws > 1 else x)


def _repeat(x: Tensor, draws: int) -> Tensor:
    """Each row `draws` times; always a copy, because a model may write into what it is given."""
    return x.clone() if draws == 1 else x.repeat_interleave(draws, dim=0)


def _mean(values: Tensor, draws: int) -> Tensor:
    return values if draws == 1 else values.unflatten(0, (-1, draws)).mean(dim=1)
