"""DGSM, the directed gradient sign method. Donoghue, Lines, Pereira (2020), the paper's attack 2."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EscrimeError
from ..norms import per_image
from ..validation import check_whole
from .core.base import Epsilon
from .core.inputs import Inputs
from .core.iterative import IterativeAttack, Output, Rows, State
from .core.losses import margin
from .pgd import step_length


@dataclass(frozen=True)
class DGSM(IterativeAttack):
    """Sign steps towards a desired class: L = J(x+δ, y_desired) − J(x+δ, y_true), δ ← clip(δ − a·sign(∇L), −ε, ε), δ₀ = 0.

    The log-sum-exp terms of the two cross-entropies cancel, so L = z_true − z_desired, which is what is differentiated:
    the same direction without the saturation of the softmax. x + δ stays a valid image at every step.

    Source: Donoghue, Lines, Pereira (2020), Generating and defending against adversarial examples, attack 2.

    Args:
        eps: The budget in l_inf, a fraction of the color range: a number, a text such as "8/255" or one number per image.
        target: The desired class; None where `targets` is given in the call.
        steps: N, which the paper leaves open.
        step_size: a, likewise open, a fraction of the color range; None for 2.5·ε/N, which can reach the ball's faces from
            any start (Madry et al. 2018).
        early_stop: Whether an image stops when it is predicted as the desired class (the paper takes all N steps).
        give_up: How soon to leave an image on which the class is out of reach (see IterativeAttack), such as 3; None takes
            all steps.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range, and in a call without a desired class.
    """

    eps: Epsilon
    target: int | None = None
    steps: int = 20
    step_size: float | str | None = None
    early_stop: bool = False
    give_up: float | None = None
    eot: int = 1

    norms = ("linf",)
    access = "gradients"
    paper = (
        "Donoghue, Lines, Pereira (2020), Generating and defending against adversarial examples in vision-optimized "
        "neural architectures"
    )
    needs_target = True
    warmup = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps", low=0, hint="such as 20")
        self._put(step_length(self, "2.5·ε/steps"), "step_size")

    def aims(self, inputs: Inputs, clean_logits: Tensor | None, restart: int) -> Tensor:
        if inputs.targets is None:
            raise EscrimeError("DGSM needs the class to move towards: give target=CLASS, or targets= (N,) in the call.")
        return inputs.targets

    def start(self, rows: Rows, keys: Tensor) -> State:
        a = 2.5 * rows.eps / self.steps if self.step_size is None else torch.full_like(rows.eps, float(self.step_size))
        return {"x": rows.images, "a": per_image(a, rows.images).float()}

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return margin(logits, labels, aims)

    def step(self, state: State, output: Output, rows: Rows) -> None:
        state["x"] = rows.project(state["x"] - state["a"] * self.geometry.steepest(output.needed_gradient()))
