"""FGSM. Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples; the paper's attack 1."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..models.running import Batches, network_batch, passes_per_image
from ..norms import per_image
from .core.base import Attack, Outcome
from .core.gradients import finite, loss_gradient
from .core.inputs import Inputs, check_classes, report_not_finite


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of size ε along the sign of the input gradient: x' = clip(x + ε·sign(∇ₓ J(θ, x, y)), 0, 1).

    eps: fraction of the color range. norm: "linf", or "l2" (the step is ε·g/‖g‖₂). target: class to move towards, down
    the gradient of J(θ, x, target). eot: noise draws averaged in the gradient of a randomized model.
    A sweep over ε takes one gradient per image for all ε.
    """

    eps: float | str
    norm: str = "linf"
    target: int | None = None
    eot: int = 1

    norms = ("linf", "l2")
    access = "gradients"
    paper = "Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples, arXiv:1412.6572"

    def _sweep(self, twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        images, keys, copies = inputs.images, inputs.keys(self.name), passes_per_image(twin.model)
        adversarial = [torch.empty_like(images) for _ in budgets]

        def part(at: slice) -> None:
            direction = self.geometry.steepest(self._gradient(twin, inputs, at, keys[at]))
            for moved, eps in zip(adversarial, budgets[:, at]):
                step = per_image(eps, images[at]).float() * direction
                moved[at] = self.geometry.project(images[at] + step, images[at], eps)

        Batches(network_batch(images) // (copies * self.eot)).map(part, len(images))
        # The gradient serves every ε, so its cost is shared among them.
        share = torch.full((len(images),), self.eot * copies / len(budgets))
        return [Outcome(moved, share, share) for moved in adversarial]

    def _gradient(self, twin, inputs: Inputs, at: slice, keys: Tensor) -> Tensor:
        """The gradient (N, C, H, W) along which to step, for the images `at`."""
        targeted = inputs.targets is not None
        goals = (inputs.targets if targeted else inputs.labels)[at].repeat_interleave(self.eot)

        def loss(logits):
            check_classes(inputs, logits.shape[1])
            return cross_entropy(logits, goals, reduction="none")

        logits, _, gradient = loss_gradient(twin.copy, inputs.images[at], loss, keys, self.eot)
        bad = torch.zeros(len(inputs.images), dtype=torch.bool)
        bad[at] = ~logits.isfinite().all(1).cpu()
        report_not_finite(inputs, bad)
        return finite(-gradient if targeted else gradient)
