"""What passes between an attack and its loop: the images in the batch, the attack's own state, the model's answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...norms import Norm

# Per-job tensors of the attack's own, first dimension the job, called as it likes. Three names mean something to the loop too.
State = dict[str, Tensor]
ITERATE = "x"  # (N, C, H, W), written by the attack: what the model is asked about next
BEST = "best"  # (N, C, H, W), written by the loop where the attack has keep_best: the best iterate so far
DONE = "done"  # (N,) bool, written by an attack that may end a job early: such a job leaves with its next answer


@dataclass(frozen=True)
class Rows:
    """The jobs in the batch: the original images (N, C, H, W), labels (N,), the class to reach and the class to move
    towards (N,) or None, ε (N,) float64, and where ball ∩ [0, 1] is a box its bounds (N, C, H, W)."""

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    aims: Tensor | None
    eps: Tensor
    geometry: Norm
    lower: Tensor | None = None
    upper: Tensor | None = None

    def __post_init__(self):
        if self.lower is None and (box := self.geometry.box(self.images, self.eps)) is not None:  # once, not at every step
            for name, bound in zip(("lower", "upper"), box, strict=True):
                object.__setattr__(self, name, bound)

    def project(self, x: Tensor) -> Tensor:
        """The nearest points of ball ∩ box, kept to the last bit."""
        if self.lower is None:
            return self.geometry.project(x, self.images, self.eps)
        return torch.minimum(torch.maximum(x, self.lower), self.upper)

    def each(self, change: Callable[[str, Tensor], Tensor]) -> "Rows":
        """A copy whose tensors are change(name, tensor)."""
        return replace(self, **{k: change(k, v) for k, v in vars(self).items() if isinstance(v, Tensor)})


@dataclass(frozen=True)
class Output:
    """What the model said of the iterates: logits (N, K), the attack's loss (N,), its gradient, and, once verified, which
    iterates succeed (N,) bool. gradient: of the loss (N, C, H, W); or of the logits of `classes` (N, M), (N, M, C, H, W);
    None where the attack uses scores only."""

    logits: Tensor
    loss: Tensor
    gradient: Tensor | None
    classes: Tensor | None = None
    success: Tensor | None = None
