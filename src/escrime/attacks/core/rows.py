"""What passes between an attack and its loop: the images in the batch, the attack's own state, the model's outputs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from ...errors import EscrimeError
from ...norms import Norm
from .masks import confined

# Per-job tensors of the attack's own, first dimension the job, called as it likes. These names mean something to the loop too.
State = dict[str, Tensor]
ITERATE = "x"  # (N, C, H, W), written by the attack: what the model is asked about next
BEST = "best"  # (N, C, H, W), written by the loop where the attack has keep_best: the best iterate so far
MADE_FROM = "made_from"  # (N, P) float64, written by an attack in a rendered norm: the parameters of the iterate
BEST_MADE_FROM = "best_made_from"  # (N, P), written by the loop: those of the best iterate
DONE = "done"  # (N,) bool, written by an attack that may end a job early: such a job leaves after its next query


@dataclass(frozen=True)
class Rows:
    """The jobs in the batch, one row each.

    Args:
        images: The original images, float32 (N, C, H, W).
        labels: Their true classes, (N,).
        targets: The classes that count as success, (N,); None for any misclassification.
        aims: The classes to move towards, (N,); None to move away from the label.
        eps: float64 (N,).
        geometry: The norm.
        lower: Where ball ∩ [0, 1] is a box, its lowest point, (N, C, H, W); made here.
        upper: Its highest point.
        mask: Which pixels may change, bool (N, 1, H, W); None for all.
        restart: The number of the run, from 0, int64 (N,).
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    aims: Tensor | None
    eps: Tensor
    geometry: Norm
    lower: Tensor | None = None
    upper: Tensor | None = None
    mask: Tensor | None = None
    restart: Tensor | None = None

    def __post_init__(self) -> None:
        if self.lower is None and (box := self.geometry.box(self.images, self.eps)) is not None:  # once, not at every step
            for name, bound in zip(("lower", "upper"), box, strict=True):
                object.__setattr__(self, name, self.confined(bound))

    def project(self, x: Tensor) -> Tensor:
        """Π(x), the nearest points of ball ∩ [0, 1], the image outside of the mask, kept to the last bit; both (N, C, H, W)."""
        if self.lower is None or self.upper is None:
            return self.geometry.project(self.confined(x), self.images, self.eps)
        return torch.minimum(torch.maximum(x, self.lower), self.upper)

    def confined(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) within the mask, the images outside of it."""
        return confined(x, self.images, self.mask)

    @property
    def values(self) -> Tensor:
        """How many color values of each image may change, float64 (N,)."""
        if self.mask is None:
            return torch.full_like(self.eps, self.images[0].numel())
        return self.mask.flatten(1).sum(1).double() * self.images.shape[1]

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The lowest and highest points (N, C, H, W) of ball ∩ [0, 1]; EscrimeError in a norm in which that is no box."""
        if self.lower is None or self.upper is None:
            raise EscrimeError(
                f"an ε-ball in {self.geometry.name} is no box; use a norm with a bound for every value, such as linf."
            )
        return self.lower, self.upper

    def each(self, change: Callable[[str, Tensor], Tensor]) -> "Rows":
        """A copy whose tensors are change(name, tensor)."""
        changed: dict[str, Any] = {k: change(k, v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **changed)


def wide(numbers: Tensor) -> Tensor:
    """One number or flag per row (N,) as (N, 1, 1, 1), which broadcasts over its image."""
    return numbers[:, None, None, None]


@dataclass(frozen=True)
class Output:
    """What the model returned for the iterates.

    Args:
        logits: (N, K).
        loss: The attack's objective, (N,).
        gradient: Of the loss with respect to the iterates, (N, C, H, W); or of the logits of `classes`, (N, M, C, H, W); None
            where the attack uses scores only.
        classes: (N, M) or None.
        success: Which iterates succeed, (N,) bool, once verified; empty before.
        more: Forward passes beside that of the gradient, (N,) on the CPU; None for none.
    """

    logits: Tensor
    loss: Tensor
    gradient: Tensor | None
    classes: Tensor | None = None
    success: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    more: Tensor | None = None

    def needed_gradient(self) -> Tensor:
        """The gradient, for a step along it; EscrimeError where the attack's `ask` took none."""
        if self.gradient is None:
            raise EscrimeError("the attack steps along a gradient that its `ask` did not take; use loss_gradient there.")
        return self.gradient

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """The outputs of the parts of a batch as one."""
        if len(parts) == 1:
            return parts[0]
        columns: dict[str, Any] = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
        joined: dict[str, Any] = {name: None if v[0] is None else torch.cat(v) for name, v in columns.items()}
        return cls(**joined)
