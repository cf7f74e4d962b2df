"""The worst-case curve: what fools the model at the smallest ε of a grid fools it at every larger one."""

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..models.fast.twin import Twin
from .core.base import Attack, Outcome
from .core.inputs import Inputs
from .core.iterative import IterativeAttack
from .core.jobs import Bisection
from .core.minimum_norm import MinimumNorm
from .core.predictions import expected
from .core.scheduler import Loop


@dataclass(frozen=True)
class WorstCase(Attack):
    """`attack` for the worst-case curve: a sweep finds, per image, the smallest ε of the grid at which it succeeds.

    An example found at ε₁ lies within every ε₂ > ε₁ too, so accuracy never rises with ε, as it may where each ε is
    attacked on its own (single-step overshoot, label leaking). An iterative attack halves the grid per image and stops
    at its first success: about log₂ K runs instead of K, taking an ε that fails to rule out the smaller ones.
    Another attack runs at every ε, and the smallest success is kept.

    Args:
        attack: Any attack of escrime's, or of a user's.

    Raises:
        EscrimeError: If that is no attack.
    """

    attack: Attack

    norms = ("linf", "l2", "l1", "l0", "patch")
    access = "labels"  # or what its attack needs
    kind = "search"
    paper = "of escrime's own: bisection over ε, since what fools a model within ε fools it within every larger one"

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise EscrimeError(f"WorstCase was given {self.attack!r}; give one of escrime's attacks, such as PGD('8/255').")
        if self.attack.geometry.rendered:
            raise EscrimeError(
                f"WorstCase halves ε, and in {self.attack.norm} a smaller ε is not part of a larger one; give "
                f"{type(self.attack).__name__} itself each ε."
            )

    eps = property(lambda self: self.attack.eps)
    norm = property(lambda self: self.attack.norm)
    target = property(lambda self: self.attack.target)
    eot = property(lambda self: self.attack.eot)

    @property
    def manner(self) -> str:
        return self.attack.manner

    @property
    def name(self) -> str:
        return f"{self.attack.name}-worst-case"

    def against_noise(self, eot: int) -> Attack:
        """On a randomized model no single success decides which ε to try next, so every ε is attacked on its own."""
        return self.attack.against_noise(eot)

    def _budget(self, eps: Any) -> float | tuple[float, ...] | None:
        return self.attack._budget(eps)

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        order = budgets[:, 0].argsort().tolist()
        ascending = budgets[order]
        if (ascending.diff(dim=0) < 0).any():
            raise EscrimeError("the ε of different images are not in the same order; give every image an ascending grid.")
        if isinstance(self.attack, IterativeAttack) and not isinstance(self.attack, MinimumNorm):
            attack = copy(self.attack)
            object.__setattr__(attack, "early_stop", True)  # which an attack of the user's may not have as a field
            plan = Bisection(ascending, attack.runs, wanted.any(0), attack.concurrent)
            outcomes = Loop(attack, twin, inputs, ascending, plan).run()
        else:
            outcomes = self._smallest(twin, inputs, self.attack._sweep(twin, inputs, ascending, wanted))
        return [outcomes[order.index(k)] for k in range(len(order))]

    def _smallest(self, twin: Twin, inputs: Inputs, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes of an ascending grid, each image's first success taken for all later ones."""
        fooled = torch.zeros(len(inputs.images), dtype=torch.bool)
        found, kept = inputs.images.clone(), []
        for k, outcome in enumerate(outcomes):
            rows = (~fooled).nonzero().flatten()
            if not len(rows):
                kept.append(replace(outcome, adversarial=found.clone(), success=fooled.clone()))
                continue
            logits, spent = expected(twin, outcome.adversarial[rows], inputs.keys(self.name, k)[rows], self.eot)
            success = self._succeeded(logits, inputs.only(rows))
            found[rows] = outcome.adversarial[rows]
            fooled[rows] = success
            extra = torch.zeros(len(fooled)).index_put((rows,), spent)
            kept.append(Outcome(found.clone(), outcome.forwards + extra, outcome.backwards, fooled.clone()))
        return kept

    def _succeeded(self, logits: Tensor, inputs: Inputs) -> Tensor:
        """Which images the logits (N, K) misclassify, or put into the target class; (N,) bool on the CPU."""
        predicted = logits.argmax(1)
        return (predicted != inputs.labels if inputs.targets is None else predicted == inputs.targets).cpu()
