"""The worst-case curve: the smallest ε of a grid at which each image falls answers every larger one."""

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import EscrimeError
from .core.base import Attack, Outcome
from .core.inputs import Inputs
from .core.iterative import IterativeAttack
from .core.jobs import Bisection
from .core.minimum_norm import MinimumNorm
from .core.scheduler import Loop
from .core.verdicts import expected


@dataclass(frozen=True)
class WorstCase(Attack):
    """`attack` for the worst-case curve: a sweep finds, per image, the smallest ε of the grid at which it succeeds.

    An example found at ε₁ lies within every ε₂ > ε₁ too, so accuracy never rises with ε, as it may where each ε is
    attacked on its own (single-step overshoot, label leaking). An iterative attack halves the grid per image and stops
    at its first success: about log₂ K runs instead of K, taking an ε that fails to rule out the smaller ones.
    Another attack runs at every ε, and the smallest success is kept.
    """

    attack: Attack

    norms = ("linf", "l2")
    access = "labels"  # or what its attack needs
    kind = "search"
    paper = "of escrime's own: bisection over ε, since what fools a model within ε fools it within every larger one"

    def __post_init__(self):
        if not isinstance(self.attack, Attack):
            raise EscrimeError(f"WorstCase was given {self.attack!r}; give one of escrime's attacks, such as PGD('8/255').")

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

    def _budget(self, eps):
        return self.attack._budget(eps)

    def _sweep(self, twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
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

    def _smallest(self, twin, inputs: Inputs, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes of an ascending grid, each image's first success standing for all later ones."""
        fallen = torch.zeros(len(inputs.images), dtype=torch.bool)
        found, kept = inputs.images.clone(), []
        for k, outcome in enumerate(outcomes):
            rows = (~fallen).nonzero().flatten()
            if not len(rows):
                kept.append(replace(outcome, adversarial=found.clone(), success=fallen.clone()))
                continue
            logits, spent = expected(twin, outcome.adversarial[rows], inputs.keys(self.name, k)[rows], self.eot)
            success = self._succeeded(logits, inputs.only(rows))
            found[rows] = outcome.adversarial[rows]
            fallen[rows] = success
            extra = torch.zeros(len(fallen)).index_put((rows,), spent)
            kept.append(Outcome(found.clone(), outcome.forwards + extra, outcome.backwards, fallen.clone()))
        return kept

    def _succeeded(self, logits: Tensor, inputs: Inputs) -> Tensor:
        """Which images the logits (N, K) call wrong, or the target; (N,) bool on the CPU."""
        predicted = logits.argmax(1)
        return (predicted != inputs.labels if inputs.targets is None else predicted == inputs.targets).cpu()
