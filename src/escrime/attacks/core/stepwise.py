"""What the loop asks of an attack that takes steps: a start, a question to the model, a step, and the iterate that counts."""

import math
from collections.abc import Callable

from torch import Tensor

from .base import Attack
from .gradients import loss_gradient
from .inputs import Inputs
from .losses import shortfall
from .rows import Output, Rows, State


class Stepwise(Attack):
    """What a subclass of IterativeAttack implements or may replace; that class tells what the settings mean."""

    steps: int
    restarts: int = 1
    early_stop: bool = False
    keep_best: bool = False
    give_up: float | None = None
    plateaus = False  # whether, against noise, a job also leaves where the average of its answers falls no more
    concurrent = 1  # restarts that run side by side, of which the first success ends the others: a fixed number, so that
    # what an image costs does not depend on how full the batch is
    warmup = 0.16  # the share of its answers that a job has before it may give up

    @property
    def confirms(self) -> bool:
        return self.keep_best

    @property
    def runs(self) -> int:
        """Jobs per image and ε, each from a start of its own."""
        return self.restarts

    @property
    def queries(self) -> int:
        """Answers a job may ask for: where they are looked at, the iterate after the last step is one too."""
        return self.steps + (self.keep_best or self.early_stop)

    @property
    def patience(self) -> int:
        """Answers before the first look at whether to give up: a power of two, so that the answers double between looks."""
        return 2 ** max(1, int(math.log2(max(2.0, self.warmup * self.queries))))

    def start(self, rows: Rows, keys: Tensor) -> State:
        """The state of new jobs; random numbers of row i come from keys[i], (N,) int64."""
        raise NotImplementedError

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        """One value per row, (N,), to be minimized."""
        raise NotImplementedError

    def ask(self, model, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        """Put the iterates x (N, C, H, W) to the model. `loss` is the objective for these rows, each repeated `eot` times."""
        return Output(*loss_gradient(model, x, loss, keys, self.eot))

    def step(self, state: State, output: Output, rows: Rows) -> None:
        """Put the next iterate, inside ball and box, into state["x"]."""
        raise NotImplementedError

    def rank(self, output: Output, x: Tensor, rows: Rows) -> Tensor:
        """What tells the better of two adversarial iterates, or of two that are not: lower is better, (N,)."""
        return output.loss

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor | None:
        """Which iterates (N,) would end their job if they were adversarial; None for all."""
        return None

    def remaining(self, output: Output, state: State, rows: Rows) -> Tensor:
        """What an iterate lacks to success (N,), negative once it succeeds."""
        return shortfall(output.logits, rows.labels, rows.targets)

    def aims(self, inputs: Inputs, clean_logits: Tensor | None, restart: int) -> Tensor | None:
        """The class each image (N,) is moved towards in this restart; None moves it away from its label."""
        return inputs.targets

    @property
    def needs_clean_logits(self) -> bool:
        """Whether `aims` wants the logits of the clean images."""
        return False

    def succeeded(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        """Which rows are adversarial, (N,) bool: at the target where there is one, else misclassified."""
        predicted = logits.argmax(1)
        return predicted != labels if targets is None else predicted == targets
