"""Clean and FGSM accuracy of a model while it trains."""

import numpy as np
import torch
from torch import nn

from ...attacks.fgsm import fgsm_step
from ...models.running import network_batch
from ..crafting import cross_entropy_sum, evaluation_mode
from ..loader import Loader


def accuracies(model: nn.Module, loader: Loader, eps: float) -> tuple[float, float]:
    """(clean accuracy, accuracy under FGSM at `eps`) in [0, 1], in evaluation mode; the model is left as it was.

    One forward pass serves both the clean prediction and the gradient.
    """
    right, batch_size = torch.zeros(2, dtype=torch.int64, device=loader.device), network_batch(loader.first(1))
    with evaluation_mode(model):
        for start in range(0, len(loader), batch_size):
            images, labels = loader.images(np.arange(start, min(start + batch_size, len(loader))))
            images.requires_grad_()
            with torch.enable_grad():
                logits = model(images)
                (gradient,) = torch.autograd.grad(cross_entropy_sum(labels)(logits), images)
            with torch.no_grad():
                fooled = model(fgsm_step(images.detach(), gradient, eps))
            right += torch.stack([(z.argmax(dim=1) == labels).sum() for z in (logits.detach(), fooled)])
    clean, adversarial = (right.double() / len(loader)).tolist()
    return clean, adversarial
