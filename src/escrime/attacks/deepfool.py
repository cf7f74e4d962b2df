"""DeepFool. Moosavi-Dezfooli, Fawzi, Frossard (2016), DeepFool: a simple and accurate method to fool deep neural networks,
algorithm 2."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..norms import per_image
from .core.gradients import logit_gradients
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.minimum_norm import MinimumNorm


@dataclass(frozen=True)
class DeepFool(MinimumNorm):
    """Step to the nearest boundary of the linearized model, again and again, until the class changes.

    eps: largest distance of interest, None for any (see MinimumNorm). steps: at most; an image stops at its first
    success, which the overshoot carries over the boundary. overshoot: η, each step goes 1 + η times as far. candidates:
    how many of the most likely other classes are considered (the paper's code takes 9); each costs a backward pass.
    target: class to reach; then only its boundary counts. early_stop: stop an image at its first success; False, for
    randomized models, takes all steps and keeps the nearest example.
    """

    eps: float | str | None = None
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
    near_enough = IterativeAttack.near_enough  # the first example is the answer, wherever it lies

    def __post_init__(self):
        super().__post_init__()
        if self.steps < 1:
            raise EscrimeError(f"steps = {self.steps}: DeepFool needs at least one step, such as 50.")
        if not self.overshoot >= 0:
            raise EscrimeError(f"overshoot = {self.overshoot} stops short of the boundary; use a small number such as 0.02.")
        if self.candidates < 1:
            raise EscrimeError(f"candidates = {self.candidates}: at least one other class must be considered.")

    def start(self, rows: Rows, keys: Tensor) -> State:
        return self.fresh(rows)

    def ask(self, model, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        def choose(logits: Tensor) -> Tensor:
            """The label first, then the classes whose boundaries are considered."""
            if rows.aims is not None:
                return torch.stack([logits.scatter(1, rows.aims[:, None], float("-inf")).argmax(1), rows.aims], dim=1)
            if logits.shape[1] < 2:
                raise EscrimeError("the model has one class only, so DeepFool has no boundary to step to; give two or more.")
            others = logits.scatter(1, rows.labels[:, None], float("-inf"))
            count = min(self.candidates, logits.shape[1] - 1)
            return torch.cat([rows.labels[:, None], others.topk(count, dim=1).indices], dim=1)

        logits, classes, gradients = logit_gradients(model, x, choose, keys, self.eot)
        return Output(logits, self.objective(logits, rows.labels, rows.aims), gradients, classes)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        self.note(state, output, rows)
        values = output.logits.gather(1, output.classes)
        f = (values[:, :1] - values[:, 1:]).clamp_min(0)  # how far above each other class the label lies
        w = output.gradient[:, 1:] - output.gradient[:, :1]
        size = self.geometry.dual(w).clamp_min(1e-30)
        nearest = (f / size).argmin(1, keepdim=True)
        pick = nearest[:, :, None, None, None].expand(-1, -1, *w.shape[2:])
        w, size, f = w.gather(1, pick).squeeze(1), size.gather(1, nearest).squeeze(1), f.gather(1, nearest).squeeze(1)
        # A boundary that is reached exactly is not crossed: the small constant carries over it.
        length = (1 + self.overshoot) * (f / size) + 1e-6
        length = length.float().clamp_max(torch.finfo(torch.float32).max)  # infinite, it is NaN where w is 0
        state["x"] = (state["x"] + per_image(length, w).float() * self.geometry.steepest(w)).clamp(0, 1)
