"""PGD. Madry et al. (2018), Towards deep learning models resistant to adversarial attacks; momentum: Dong et al. (2018)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.running import Classifier
from ..norms import DEFAULT, per_image
from ..randomness import derive
from ..validation import check_real, check_whole
from .core.base import Attack, Epsilon
from .core.diversity import diverse
from .core.gradients import draw_keys, loss_gradient, loss_only
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import LOSSES, check_loss
from .core.starts import random_start

DIVERSE = -2  # in place of a draw's number, in the keys of diverse inputs


@dataclass(frozen=True)
class PGD(IterativeAttack):
    """Projected gradient steps from a random start, down a loss L such as −J: x ← Π(x − a·sign ∇ₓL), in l2 a·∇ₓL/‖∇ₓL‖₂.

    L is one of losses.py: L = −J(x, y) away from the label, so that the step is the paper's x ← Π(x + a·sign ∇ₓJ(x, y)), and
    L = J(x, t) towards a class t. Π projects on the ε-ball ∩ [0, 1].

    In l1 and l0 a step of size a takes the steepest values, or pixels, to the end of the box until a is spent, and Π keeps, of
    more than ε pixels, those that gain most.

    The best iterate is returned, so the result is never worse than the start, and the last iterate counts: one step is an
    attack.

    Source: Madry, Makelov, Schmidt, Tsipras, Vladu (2018), Towards deep learning models resistant to adversarial attacks,
    section 2.1; for momentum Dong et al. (2018), Boosting adversarial attacks with momentum, algorithm 1; for
    smoothing Dong, Pang, Su, Zhu (2019), Evading defenses to transferable adversarial examples by translation-invariant
    attacks, section 3.2 (TI-FGSM, arXiv:1904.02884); for diversity see `core.diversity`.

    Args:
        eps: The budget, a number, a text such as "8/255" or one number per image: a fraction of the color range in l_inf, a
            length in l2 and l1, a count of pixels in l0, the side of a patch.
        steps: Gradient steps.
        step_size: a, in the units of ε; None for one that falls from ε to 0 along half a cosine, which finds easy examples
            in a step or two and hard ones at least as often as the usual 2.5·ε/steps.
        restarts: Runs; one begins, from another start, only where those before it failed.
        norm: "linf", "l2", "l1", "l0" or "patch".
        loss: "ce", "margin" or "dlr".
        momentum: μ of the accumulated gradient g ← μ·g + ∇L/‖∇L‖₁ (MI-FGSM); 0 without.
        random_start: Whether to start at a random point of the ball; False starts at the image (BIM).
        target: The class to reach; None for any misclassification.
        early_stop: Whether an image stops at its first success.
        eot: Noise draws of a randomized model averaged in each gradient.
        smoothing: Radius in pixels of the Gaussian (σ a third of it) by which the gradient is smoothed, so that examples fool
            other networks more often (TI-FGSM, whose authors take 7 on 299 pixels); 0 for none.
        diversity: How often the gradient is taken at a shrunk and shifted copy of the image, drawn anew at every step, for the
            same purpose (DI-FGSM, whose authors take 0.5): a probability, 0 for never. It costs one forward pass more a step,
            for what counts is the image itself.

    Raises:
        EscrimeError: For a setting out of range, and an unknown loss.
    """

    eps: Epsilon
    steps: int = 40
    step_size: float | str | None = None
    restarts: int = 1
    norm: str = DEFAULT
    loss: str = "ce"
    momentum: float = 0.0
    random_start: bool = True
    target: int | None = None
    early_stop: bool = True
    eot: int = 1
    smoothing: int = 0
    diversity: float = 0.0

    norms = ("linf", "l2", "l1", "l0", "patch")
    access = "gradients"
    paper = (
        "Madry, Makelov, Schmidt, Tsipras, Vladu (2018), Towards deep learning models resistant to adversarial "
        "attacks, arXiv:1706.06083"
    )
    keep_best = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        self._put(check_whole, "steps", hint="such as 40")
        self._put(check_whole, "restarts", hint="the first start counted too")
        self._put(check_real, "momentum", low=0, hint="0 for none or 1 as in MI-FGSM")
        self._put(check_whole, "smoothing", low=0, of="pixels", hint="0 for none or 7 as in TI-FGSM")
        self._put(check_real, "diversity", low=0, high=1, hint="0 for never or 0.5 as in DI-FGSM")
        self._put(step_length(self, "one that falls from ε to 0"), "step_size")

    def start(self, rows: Rows, keys: Tensor) -> State:
        x = random_start(rows, keys) if self.random_start else rows.images
        state = {"x": x, "taken": torch.zeros_like(rows.eps)}
        return state | {"velocity": torch.zeros_like(x)} if self.momentum else state

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return LOSSES[self.loss](logits, labels, aims)

    def ask(self, model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        if not self.diversity:
            return super().ask(model, x, loss, rows, keys)
        drawn = draw_keys(derive(keys, DIVERSE), self.eot)
        *_, gradient = loss_gradient(lambda copies: model(diverse(copies, drawn, self.diversity)), x, loss, keys, self.eot)
        logits, values = loss_only(model, x, loss, keys, self.eot)
        return Output(logits, values, gradient, more=torch.full((len(x),), float(self.eot)))

    def step(self, state: State, output: Output, rows: Rows) -> None:
        gradient = output.needed_gradient()
        if self.smoothing:
            gradient = smoothed(gradient, self.smoothing)
        if self.momentum:
            size = gradient.flatten(1).abs().sum(1).clamp_min(1e-30).reshape(-1, 1, 1, 1)
            state["velocity"] = gradient = self.momentum * state["velocity"] + gradient / size
        falling = rows.eps * (1 + torch.cos(math.pi * state["taken"] / self.steps)) / 2
        a = falling if self.step_size is None else torch.full_like(rows.eps, float(self.step_size))
        state["taken"] = state["taken"] + 1
        moved = self.geometry.climb(state["x"], gradient, -per_image(a, rows.images).float())
        counted = self.geometry.grain > 0
        state["x"] = self.geometry.steered(moved, rows.images, rows.eps, -gradient) if counted else rows.project(moved)


def smoothed(gradient: Tensor, radius: int) -> Tensor:
    """The gradient (N, C, H, W) convolved with a Gaussian of σ = radius/3 over places, 0 outside of the image. It is added up
    from shifted copies, since a convolution's last bits may depend on the batch."""
    weights = [math.exp(-0.5 * (3 * k / radius) ** 2) for k in range(-radius, radius + 1)]
    for dim in (2, 3):
        size = gradient.shape[dim]
        total = torch.zeros_like(gradient)
        for shift, weight in zip(range(-radius, radius + 1), weights, strict=True):
            kept = size - abs(shift)
            if kept > 0:
                part = gradient.narrow(dim, max(shift, 0), kept) * (weight / sum(weights))
                total.narrow(dim, max(-shift, 0), kept).add_(part)
        gradient = total
    return gradient


def step_length(attack: Attack, default: str) -> Callable[[str, Any], float | None]:
    """What checks a step size in the units of the attack's ε, which may be written as "1/255". default: that of None."""

    def check(name: str, size: Any) -> float | None:
        hint = f"or leave it out for {default}"
        return None if size is None else check_real(name, attack.geometry.epsilon(size), above=0, hint=hint)

    return check
