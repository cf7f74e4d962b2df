"""What an attack is: a frozen dataclass of its settings that maps (model, images, labels) to adversarial images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import EscrimeError
from ..threat import check_norm, epsilon
from .problem import Problem, no_trace


@dataclass(frozen=True)
class Outcome:
    """Adversarial images (N, C, H, W) and the network passes spent on each: forwards (N,), backwards (N,)."""

    adversarial: Tensor
    forwards: Tensor
    backwards: Tensor


class Attack:
    """Base of the attacks. A subclass is a frozen dataclass with `eps`, and optionally `norm`, `target` and `eot`.

    It implements `_sweep(model, problem, epsilons)`, which returns one Outcome per ε.
    """

    eps: float
    norm: str = "linf"
    target: int | None = None
    eot: int = 1

    def __post_init__(self):
        object.__setattr__(self, "norm", check_norm(self.norm))
        object.__setattr__(self, "eps", epsilon(self.eps, self.norm))
        if self.eot < 1:
            raise EscrimeError(f"eot = {self.eot}: at least one draw of the model's noise is needed per gradient.")

    @property
    def name(self) -> str:
        return type(self).__name__

    def against_noise(self, eot: int) -> "Attack":
        """The same attack for a randomized model: at least `eot` noise draws per gradient, and no early stop, since one
        lucky draw is not a success."""
        changes = {"early_stop": False} if hasattr(self, "early_stop") else {}
        return replace(self, eot=max(eot, self.eot), **changes)

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        seed: int = 0,
        ids: Sequence | None = None,
    ) -> Tensor:
        """Return adversarial images, same shape as `images` (N, C, H, W), in [0, 1] and within ε to the last bit.

        labels (N,) are the true classes; targets (N,), if given, are the classes to reach instead. `seed` and `ids`
        (one per image, default 0, 1, ...) fix the randomness of each image whatever the batch it is in.
        Errors: EscrimeError for images outside the contract, target == label, or a model that answers NaN.
        """
        return self.sweep(model, images, labels, [self.eps], targets=targets, seed=seed, ids=ids)[0].adversarial

    def sweep(self, model, images, labels, epsilons, *, targets=None, seed=0, ids=None) -> list[Outcome]:
        """Run the attack at every ε of `epsilons` and return one Outcome for each, in order."""
        problem = Problem.checked(images, labels, targets, self.target, seed, ids)
        epsilons = [epsilon(e, self.norm) for e in epsilons]
        if not len(problem.images):
            nothing = torch.zeros(0)
            return [Outcome(problem.images, nothing, nothing) for _ in epsilons]
        with no_trace(model, problem.images.device):
            return self._sweep(model, problem, epsilons)

    def _sweep(self, model, problem: Problem, epsilons: list[float]) -> list[Outcome]:
        raise NotImplementedError
