"""FGSM. Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples; the paper's attack 1."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from ..threat import per_image, project
from .base import Attack, Outcome
from .gradients import loss_gradient
from .problem import Problem, check_classes, check_logits, passes_per_image, report_not_finite, row_key
from .steps import steepest


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

    def _sweep(self, model, problem: Problem, epsilons: list[float]) -> list[Outcome]:
        images, targeted = problem.images, problem.targets is not None
        goal = problem.targets if targeted else problem.labels
        goals = goal.repeat_interleave(self.eot)

        def loss(logits):
            check_classes(problem, check_logits(logits, len(goals)).shape[1])
            return cross_entropy(logits, goals, reduction="none")

        keys = [row_key(problem, i, self.name) for i in range(len(images))]
        logits, _, gradient = loss_gradient(model, images, loss, keys, self.eot)
        report_not_finite(problem, ~(logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)))
        if targeted:
            gradient = -gradient
        direction = steepest(gradient, self.norm)
        spent = torch.full((len(images),), float(self.eot * passes_per_image(model)))
        # The gradient serves every ε, so its cost is shared among them.
        share = spent / len(epsilons)
        return [
            Outcome(project(images + per_image(eps, images).float() * direction, images, eps, self.norm), share, share)
            for eps in epsilons
        ]
