"""Making the training examples: input gradients and steps, with the model exactly as it was before.

Crafting runs in evaluation mode: BatchNorm uses its running statistics and dropout is off, so an example depends on
its own image only, as it will when the model is attacked; the running statistics see each batch once, in the forward
pass of the loss, which runs in training mode. Gradients are taken of the input alone: parameter gradients are neither
computed nor written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from ..attacks.core.gradients import input_gradient
from ..attacks.fgsm import fgsm_step
from ..models.running import modes_kept
from ..norms import Linf

BALL = Linf()  # the norm that the examples of training are made in


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Within the block every submodule is in evaluation mode; after it each has its own mode back."""
    with modes_kept(model):
        for module in model.modules():  # not model.eval(), which a model of the user's may have rewritten
            module.training = False
        yield


def cross_entropy_sum(labels: Tensor) -> Callable[[Tensor], Tensor]:
    """J(z, y) summed over images: a sum, since each image's gradient then does not depend on the batch size."""
    return lambda logits: F.cross_entropy(at_least_float32(logits), labels, reduction="sum")


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits of an autocast model, widened before they are exponentiated."""
    return logits.float() if logits.dtype.itemsize < 4 else logits


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
    """FGSM, see `fgsm_step`, in l_inf; crafted in evaluation mode."""
    with evaluation_mode(model):
        return fgsm_step(images, input_gradient(model, images, cross_entropy_sum(labels)), eps, BALL)


def climb(
    model: nn.Module,
    images: Tensor,
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    eps: float | Tensor,
    size: float | Tensor,
    steps: int,
) -> Tensor:
    """`steps` steps of FGSM's of `size` from `start`, each put back into the l_inf ball of ε around `images` ∩ the box."""
    box, current = BALL.rounded_box(images, eps), start
    for _ in range(steps):
        current = BALL.into(box, fgsm_step(current, input_gradient(model, current, loss), size, BALL))
    return current
