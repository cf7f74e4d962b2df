"""One perturbation for all images. Moosavi-Dezfooli, Fawzi, Fawzi, Frossard (2017), Universal adversarial perturbations; fitted
by gradient steps: Shafahi et al. (2020), Universal adversarial training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import DEFAULT
from .core.base import Epsilon
from .core.masks import inside_only
from .core.universal import Inputs, Universal


@dataclass(frozen=True)
class UniversalPGD(Universal):
    """One perturbation δ for all images, fitted on some and judged by others: x' = clip(x + δ, 0, 1), ‖δ‖ ≤ ε.

    δ ← Π(δ + a·s), where s is the steepest direction of the loss summed over a batch of images, with momentum, and a falls from
    ε to 0 along half a cosine. An image at a bound of the box counts only where its gradient leads back inside: no other step
    moves it. The loss is the margin or cross-entropy cut off for each image, run by run (see core/fitting.py).

    Source: Moosavi-Dezfooli, Fawzi, Fawzi, Frossard (2017), Universal adversarial perturbations, for the threat; Shafahi,
    Najibi, Xu, Dickerson, Davis, Goldstein (2020), Universal adversarial training, algorithm 2, for the steps.

    Args:
        eps: The budget: a fraction of the color range in l_inf, a length in l2.
        norm: "linf" or "l2".
        steps: Gradient steps of each run.
        restarts: Runs, of which the one that leaves fewest of the images it was fitted on right is kept.
        batch: Images behind each step.
        fit_images: Images it is fitted on at most.
        target: The class that all images shall reach; None for any misclassification.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range; in a call, since it is to be fitted first.
    """

    eps: Epsilon
    norm: str = DEFAULT
    steps: int = 100
    restarts: int = 4
    batch: int = 32
    fit_images: int = 500
    target: int | None = None
    eot: int = 1

    norms = ("linf", "l2")
    paper = (
        "Moosavi-Dezfooli, Fawzi, Fawzi, Frossard (2017), Universal adversarial perturbations, arXiv:1610.08401; fitted as by "
        "Shafahi et al. (2020), Universal adversarial training, arXiv:1811.11304"
    )

    def begin(self, inputs: Inputs, eps: float, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return torch.zeros_like(inputs.images[0])
        shape = (1, *inputs.images.shape[1:])
        drawn = torch.randn(shape, generator=generator, dtype=inputs.images.dtype).to(inputs.images)
        drawn = inside_only(drawn, None if inputs.mask is None else inputs.mask.any(0, keepdim=True))
        return eps * self.geometry.steepest(drawn)[0]

    def applied(self, made: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        moved = self.geometry.project(images + made, images, eps)
        return moved if mask is None else moved.where(mask, images)

    def pulled_back(
        self, gradient: Tensor, made: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None
    ) -> Tensor:
        reached = images + made
        stuck = ((reached <= 0) & (gradient < 0)) | ((reached >= 1) & (gradient > 0))
        return inside_only(gradient, mask).masked_fill(stuck, 0.0)

    def stepped(self, made: Tensor, gradient: Tensor, eps: float, size: float, run: int) -> Tensor:
        moved = made + eps * size * self.geometry.steepest(gradient[None]).float()
        return self.geometry.clip(moved, torch.full((1,), eps, device=made.device))[0]

    def picture(self, made: Tensor) -> Tensor:
        """Gray where nothing changes, and as far from it as the largest change lets it."""
        return 0.5 + made / (2 * made.abs().max().clamp_min(1e-30))
