"""APGD. Croce and Hein (2020), Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks, algorithm 1 and section 3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..norms import DEFAULT, per_image
from ..validation import check_whole
from . import apgd_l1
from .core.base import Epsilon
from .core.inputs import Inputs
from .core.iterative import IterativeAttack, Output, Rows, State, wide
from .core.losses import LOSSES, check_loss, next_classes
from .core.starts import random_start

MOMENTUM = 0.75  # α of the paper: weight of the new step against the last one
PROGRESS = 0.75  # ρ: share of steps since the last checkpoint that must have improved the loss


@dataclass(frozen=True)
class APGD(IterativeAttack):
    """PGD with momentum whose step size starts at 2ε and halves where the loss stops improving; no step size to choose.

    z = Π(x − η·d), x ← Π(x + α·(z − x) + (1 − α)·(x − x_previous)), α = 0.75, with d the direction in which the loss rises
    fastest (its sign in l_inf, ∇L/‖∇L‖₂ in l2) and Π the projection on the ε-ball ∩ [0, 1]. Losses are those of losses.py,
    which are minimized, so that untargeted L = −J and the step climbs J.

    At checkpoints (after 22 % of the steps, then at intervals shrinking from 19 % to 6 %) the step η of an image is halved,
    and it goes on from its best iterate, if fewer than ρ = 0.75 of its steps improved the loss, or if neither step size nor
    best loss changed since the last checkpoint. Every image has its own step size, checkpoint and budget.

    In l1 a step shares its size among the k steepest values, without momentum, from size ε and k = 20 % of the values on.
    At checkpoints (every 4 % of the steps) k becomes the number of values that the best iterate changes, over 1.5; where that
    number has fallen by 5 % the image goes on from there with size ε, else its size is divided by 1.5, to ε/10 at least. After
    30 % of the steps the best iterate goes on in the ball of 3ε, after 20 % more in that of 2ε, and projected in that of ε for
    the last 30 %; the paper begins with 3ε, where no success counts.

    Source: Croce and Hein (2020), Reliable evaluation of adversarial robustness, algorithm 1; for l1 Croce and Hein (2021),
    Mind the box, algorithm 1.

    Args:
        eps: The budget, a number, a text such as "8/255" or one number per image: a fraction of the color range in l_inf, a
            length in l2 and l1.
        steps: Gradient steps.
        restarts: Runs from random starts; one begins only where those before it failed. With `targets_tried`, per class.
        loss: "ce" or "dlr"; "margin" works too.
        norm: "linf", "l2" or "l1".
        target: The class to reach; None for any misclassification.
        targets_tried: k > 0 runs the targeted loss towards the k most likely other classes side by side, to any
            misclassification (APGD-T with "dlr").
        early_stop: Whether an image stops at its first success.
        give_up: How soon to leave an image on which success is out of sight (see IterativeAttack); None spends all steps.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range, an unknown loss, `target` with `targets_tried`.
    """

    eps: Epsilon
    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    norm: str = DEFAULT
    target: int | None = None
    targets_tried: int = 0
    early_stop: bool = True
    give_up: float | None = None
    eot: int = 1

    norms = ("linf", "l2", "l1")
    access = "gradients"
    paper = (
        "Croce and Hein (2020), Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks, arXiv:2003.01690"
    )
    keep_best = True
    warmup = 0.08

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        if self.geometry.grain:
            raise EscrimeError(f"APGD goes part of the way to a point of the ball, which {self.norm} does not know; use PGD.")
        self._put(check_whole, "steps", hint="such as 100")
        self._put(check_whole, "restarts", hint="the first start counted too")
        self._put(check_whole, "targets_tried", low=0, of="classes", hint="0 for the untargeted loss")
        if self.targets_tried and self.target is not None:
            raise EscrimeError(f"targets_tried = {self.targets_tried} and target = {self.target} exclude each other; give one.")

    @property
    def runs(self) -> int:
        return self.restarts * self.concurrent

    @property
    def concurrent(self) -> int:
        return max(self.targets_tried, 1)

    @property
    def name(self) -> str:
        return f"APGD-{self.loss.upper()}{'-T' if self.targets_tried else ''}"

    @property
    def needs_clean_logits(self) -> bool:
        return self.targets_tried > 0

    def aims(self, inputs: Inputs, clean_logits: Tensor | None, restart: int) -> Tensor | None:
        if not self.targets_tried:
            return inputs.targets
        if inputs.targets is not None:
            raise EscrimeError(
                f"targets_tried = {self.targets_tried} tries classes of its own, and targets= asks for others; give only one."
            )
        if clean_logits is None:
            raise RuntimeError("the clean logits choose the classes to try, and were not asked for")
        return next_classes(clean_logits, inputs.labels, restart % self.targets_tried)

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return LOSSES[self.loss](logits, labels, aims)

    def admitted(self, x: Tensor, rows: Rows) -> Tensor | None:
        return self.geometry.inside(x, rows.images, rows.eps) if self.geometry.sparse else None

    def start(self, rows: Rows, keys: Tensor) -> State:
        x = random_start(rows, keys)
        if self.geometry.sparse:
            return apgd_l1.start(x, rows)
        n, device = len(x), x.device

        def floats(value: float) -> Tensor:
            return torch.full((n,), value, device=device)

        return {
            "x": x,
            "previous": x,
            "lowest_at": x,  # x_max of the paper: the iterate with the best loss, adversarial or not
            "lowest_gradient": torch.zeros_like(x),
            "lowest": floats(float("inf")),
            "last": floats(float("inf")),
            "lowest_at_checkpoint": floats(float("inf")),
            "halvings": floats(0.0),
            "improved": floats(0.0),
            "since": floats(0.0),
            "window": floats(float(max(int(0.22 * self.steps), 1))),
            "halved": torch.ones(n, dtype=torch.bool, device=device),
            "moved": torch.zeros(n, dtype=torch.bool, device=device),
        }

    def step(self, state: State, output: Output, rows: Rows) -> None:
        if self.geometry.sparse:
            return apgd_l1.step(state, output, rows, self.steps)
        gradient = output.needed_gradient()
        began = state["moved"]  # rows whose iterate came from a step, not from the start
        better = output.loss < state["lowest"]
        state["lowest_at"] = torch.where(wide(better), state["x"], state["lowest_at"])
        state["lowest_gradient"] = torch.where(wide(better), gradient, state["lowest_gradient"])
        state["lowest"] = torch.where(better, output.loss, state["lowest"])
        # At the start point there is nothing to compare with; the first checkpoint compares with its loss.
        state["lowest_at_checkpoint"] = torch.where(began, state["lowest_at_checkpoint"], output.loss)
        state["improved"] = state["improved"] + (began & (output.loss < state["last"]))
        state["since"] = state["since"] + began
        state["last"] = output.loss

        due = began & (state["since"] >= state["window"])
        stuck = ~state["halved"] & (state["lowest_at_checkpoint"] <= state["lowest"])
        halve = due & ((state["improved"] <= PROGRESS * state["window"]) | stuck)
        state["halvings"] = state["halvings"] + halve
        state["halved"] = torch.where(due, halve, state["halved"])
        state["lowest_at_checkpoint"] = torch.where(due, state["lowest"], state["lowest_at_checkpoint"])
        state["improved"] = torch.where(due, 0.0, state["improved"])
        state["since"] = torch.where(due, 0.0, state["since"])
        shorter = (state["window"] - max(int(0.03 * self.steps), 1)).clamp_min(max(int(0.06 * self.steps), 1))
        state["window"] = torch.where(due, shorter, state["window"])

        x = torch.where(wide(halve), state["lowest_at"], state["x"])
        gradient = torch.where(wide(halve), state["lowest_gradient"], gradient)
        size = per_image(2 * rows.eps * 0.5 ** state["halvings"].double(), x).float()
        z = rows.project(x - size * self.geometry.steepest(gradient))
        eased = x + MOMENTUM * (z - x) + (1 - MOMENTUM) * (x - state["previous"])
        new = torch.where(wide(began), rows.project(eased), z)
        state["previous"], state["x"] = x, new
        state["moved"] = torch.ones_like(began)
