"""FGSM. Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples; the paper's attack 1."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..models.fast.twin import Twin
from ..models.running import Batches, passes_per_image
from ..norms import DEFAULT, NORMS, Norm, per_image
from .core.base import Attack, Epsilon, Outcome
from .core.gradients import finite, loss_gradient
from .core.inputs import Inputs, check_classes, report_not_finite
from .core.masks import confined, inside_only


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of size ε along the sign of the input gradient: x' = clip(x + ε·sign(∇ₓ J(θ, x, y)), 0, 1).

    In l2 the step is ε·∇ₓJ/‖∇ₓJ‖₂, in l1 and l0 the steepest values, or pixels, go to the end of the box until ε is spent;
    towards a class t it goes down the gradient of J(θ, x, t). A sweep over ε takes one gradient per image for all ε.

    Source: Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples, section 4.

    Args:
        eps: The budget, a number, a text such as "8/255" or one number per image: a fraction of the color range in l_inf, a
            length in l2 and l1, a count of pixels in l0, the side of a patch.
        norm: "linf", "l2", "l1", "l0" or "patch".
        target: The class to move towards; None to move away from the label.
        eot: Noise draws of a randomized model averaged in the gradient.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon
    norm: str = DEFAULT
    target: int | None = None
    eot: int = 1

    norms = ("linf", "l2", "l1", "l0", "patch")
    access = "gradients"
    paper = "Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples, arXiv:1412.6572"

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        images, keys, copies = inputs.images, inputs.keys(self.name), passes_per_image(twin.model)
        adversarial = [torch.empty_like(images) for _ in budgets]

        def part(at: slice) -> None:
            mask = None if inputs.mask is None else inputs.mask[at]
            gradient = inside_only(self._gradient(twin, inputs, at, keys[at]), mask)
            for moved, eps in zip(adversarial, budgets[:, at]):
                stepped = fgsm_step(images[at], gradient, per_image(eps, images[at]).float(), self.geometry)
                moved[at] = confined(self.geometry.project(stepped, images[at], eps), images[at], mask)

        Batches.of(images, copies * self.eot).map(part, len(images))
        # The gradient serves every ε, so its cost is shared among them.
        share = torch.full((len(images),), self.eot * copies / len(budgets))
        return [Outcome(moved, share, share) for moved in adversarial]

    def _gradient(self, twin: Twin, inputs: Inputs, at: slice, keys: Tensor) -> Tensor:
        """The gradient (N, C, H, W) along which to step, for the images `at`."""
        goals = (inputs.labels if inputs.targets is None else inputs.targets)[at].repeat_interleave(self.eot)

        def loss(logits: Tensor) -> Tensor:
            check_classes(inputs, logits.shape[1])
            return cross_entropy(logits, goals, reduction="none")

        logits, _, gradient = loss_gradient(twin.copy, inputs.images[at], loss, keys, self.eot)
        bad = torch.zeros(len(inputs.images), dtype=torch.bool)
        bad[at] = ~logits.isfinite().all(1).cpu()
        report_not_finite(inputs, bad)
        return finite(gradient if inputs.targets is None else -gradient)


def fgsm_step(images: Tensor, gradient: Tensor, eps: float | Tensor, geometry: Norm = NORMS[DEFAULT]) -> Tensor:
    """x' = clip(x + ε·d, 0, 1), d where J rises fastest per unit of the norm: sign(∇ₓJ) in l_inf, ∇ₓJ/‖∇ₓJ‖₂ in l2. In l1 and
    l0 the steepest values, or pixels, go to the end of the box until ε is spent.

    Source: Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples, section 4.

    Args:
        images: x, float32 (N, C, H, W) in [0, 1].
        gradient: ∇ₓJ of the loss J, (N, C, H, W).
        eps: ε, a number or (N, 1, 1, 1); negative to go down the gradient.
        geometry: The norm.

    Returns:
        x', which float32 rounding may put beyond ε by a last bit.
    """
    return geometry.climb(images, gradient, eps)
