"""DeepFool. Moosavi-Dezfooli, Fawzi, Frossard (2016), DeepFool: a simple and accurate method to fool deep neural networks,
algorithm 2."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..models.running import Classifier
from ..norms import per_image
from ..validation import check_real, check_whole
from .core.base import Epsilon
from .core.gradients import logit_gradients
from .core.iterative import Output, Rows, State
from .core.minimum_norm import MinimumNorm


@dataclass(frozen=True)
class DeepFool(MinimumNorm):
    """Step to the nearest boundary of the linearized model, again and again, until the class changes.

    With f_k = z_y − z_k and w_k = ∇z_k − ∇z_y, the nearest boundary is l = argmin_k f_k/‖w_k‖_q, and
    x ← x + (1 + η)·(f_l/‖w_l‖_q)·d, where d is the direction of w_l of norm 1 (w/‖w‖₂ in l2, q = 2; sign w in l_inf, q = 1).

    Source: Moosavi-Dezfooli, Fawzi, Frossard (2016), DeepFool, algorithm 2, for other norms section 3.3. There the overshoot
    is applied once, at the end.

    Args:
        eps: Largest distance of interest, a fraction of the color range in l_inf, a length in l2; None for any (see
            MinimumNorm).
        norm: "l2" or "linf".
        steps: At most; an image stops at its first success, which the overshoot moves over the boundary.
        overshoot: η, each step goes 1 + η times as far.
        candidates: How many of the most likely other classes are considered (the paper's code takes 9); each costs a
            backward pass.
        target: The class to reach, of which only the boundary counts; None for any misclassification.
        early_stop: Whether an image stops at its first success; False, for randomized models, takes all steps and keeps the
            nearest example.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range.
    """

    eps: Epsilon | None = None
    norm: str = "l2"
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 9
    target: int | None = None
    early_stop: bool = True
    eot: int = 1

    norms = ("linf", "l2")
    access = "gradients"
    paper = (
        "Moosavi-Dezfooli, Fawzi, Frossard (2016), DeepFool: a simple and accurate method to fool deep neural "
        "networks, arXiv:1511.04599"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.geometry.sparse:
            raise EscrimeError(
                f"DeepFool steps straight to a boundary, which the box is in the way of: not in {self.norm}; use FMN."
            )
        self._put(check_whole, "steps", hint="such as 50")
        self._put(check_whole, "candidates", of="other classes to consider", hint="such as 9")
        self._put(check_real, "overshoot", low=0, hint="such as 0.02: below 0 a step stops short of the boundary")

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor | None:
        """All of them: the first example is the result, wherever it lies."""
        return None

    def start(self, rows: Rows, keys: Tensor) -> State:
        return self.fresh(rows)

    def ask(self, model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        def choose(logits: Tensor) -> Tensor:
            """The label first, then the classes whose boundaries are considered."""
            if rows.aims is not None:
                return torch.stack([logits.scatter(1, rows.aims[:, None], float("-inf")).argmax(1), rows.aims], dim=1)
            others = logits.scatter(1, rows.labels[:, None], float("-inf"))
            count = min(self.candidates, logits.shape[1] - 1)
            return torch.cat([rows.labels[:, None], others.topk(count, dim=1).indices], dim=1)

        logits, classes, gradients = logit_gradients(model, x, choose, keys, self.eot)
        return Output(logits, self.objective(logits, rows.labels, rows.aims), gradients, classes)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        self.note(state, output, rows)
        gradients, classes = output.needed_gradient(), output.classes
        if classes is None:
            raise RuntimeError("the gradients are of no classes")
        values = output.logits.gather(1, classes)
        f = (values[:, :1] - values[:, 1:]).clamp_min(0)  # how far above each other class the label lies
        w = gradients[:, 1:] - gradients[:, :1]
        size = self.geometry.dual(w).clamp_min(1e-30)
        nearest = (f / size).argmin(1, keepdim=True)
        pick = nearest[:, :, None, None, None].expand(-1, -1, *w.shape[2:])
        w, size, f = w.gather(1, pick).squeeze(1), size.gather(1, nearest).squeeze(1), f.gather(1, nearest).squeeze(1)
        # A boundary that is reached exactly is not crossed: the small constant moves over it.
        length = (1 + self.overshoot) * (f / size) + 1e-6
        length = length.float().clamp_max(torch.finfo(torch.float32).max)  # infinite, it is NaN where w is 0
        state["x"] = (state["x"] + per_image(length, w).float() * self.geometry.steepest(w)).clamp(0, 1)
