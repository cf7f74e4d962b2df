"""Common corruptions of Hendrycks & Dietterich (2019): what happens to an image without an attacker, as an attack that looks
for nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..corruptions import COMMON, TABLE, keys_of
from ..models.fast.twin import Twin
from ..norms.corruption import CommonCorruption, parameters_of
from ..validation import check_choice
from .core.base import Attack, Epsilon, Outcome
from .core.inputs import Inputs


@dataclass(frozen=True)
class Corruption(Attack):
    """One corruption at severity ε = 1 … 5. Nothing is asked of the model: an image is corrupted once, whatever it predicts.

    x' = c(x, ε; draw), the draw from (seed, image id, corruption) and the same at every severity.

    Source: Hendrycks & Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations.

    Args:
        eps: The severity, a whole number from 1 to 5, or one per image; 0 leaves the image as it is.
        corruption: Which one, such as "fog"; `escrime.corruptions` has their names. It is the attack's name too.
        norm: "corruption", as there is no other.

    Raises:
        EscrimeError: For a severity or a corruption that there is none of.
    """

    eps: Epsilon
    corruption: str = COMMON[0]
    norm: str = CommonCorruption.name

    norms = (CommonCorruption.name,)
    access = "labels"  # the least there is: not even they are looked at
    paper = "Hendrycks, Dietterich (2019), Benchmarking neural network robustness to common corruptions, arXiv:1903.12261"
    steps = 0
    exhausts = True  # an image has one draw of a corruption
    variants = {name: {"corruption": name} for name in COMMON}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("corruption", self.corruption, TABLE)

    @property
    def name(self) -> str:
        return self.corruption

    @classmethod
    def fifteen(cls, severity: float | str = 5) -> dict[str, Attack]:
        """Those of the paper by their names, to hand to `evaluate`.

        Args:
            severity: ε of each, from 1 to 5; for all five give `evaluate` epsilons=[1, 2, 3, 4, 5] too.

        Returns:
            Name → attack.

        Raises:
            EscrimeError: For a severity that there is none of.
        """
        return {name: cls(severity, **settings) for name, settings in cls.variants.items()}

    def against_noise(self, eot: int) -> Attack:
        """The same: it does not look at the model."""
        return self

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        keys, passes = keys_of(self.corruption, inputs.seed, inputs.ids), torch.zeros(len(inputs.images))
        outcomes = []
        for severities, here in zip(budgets, wanted, strict=True):
            parameters = parameters_of(self.corruption, severities.where(here, 0), keys)
            outcomes.append(
                Outcome(CommonCorruption().render(inputs.images, parameters), passes, passes, parameters=parameters)
            )
        return outcomes
