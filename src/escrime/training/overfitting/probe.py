"""Clean and FGSM accuracy of a model while it trains."""

import numpy as np
import torch
from torch import nn

from ...attacks.fgsm import fgsm_step
from ..crafting import cross_entropy_sum, evaluation_mode
from ..loader import Loader


def accuracies(model: nn.Module, loader: Loader, eps: float, batch_size: int = 256) -> tuple[float, float]:
    """(clean accuracy, accuracy under FGSM at `eps`) in [0, 1], in evaluation mode; the model is left as it was.

    One forward pass serves both the clean prediction and the gradient.
    """
    right = torch.zeros(2, dtype=torch.int64, device=loader.device)
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
