"""What the loop asks of an attack that takes steps: a start, a query of the model, a step, and the iterate that counts."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from ...access import LABELS, SCORES
from ...models.running import Classifier
from .base import Attack
from .gradients import loss_gradient, loss_only
from .inputs import Inputs
from .losses import shortfall
from .rows import Output, Rows, State


class Stepwise(Attack):
    """What a subclass of IterativeAttack implements or may replace; that class documents the settings.

    - plateaus: whether, against noise, a job also leaves where the average of its margins falls no more.
    - concurrent: how many restarts run side by side, of which the first success ends the others: a fixed number, so that what
      an image costs does not depend on how full the batch is.
    - warmup: the share of its queries that a job makes before it may give up.
    - leaps: how many times as much an attack may gain at once as its gains so far show.
    """

    restarts: int = 1
    keep_best: bool = False
    give_up: float | None = None
    plateaus = False
    leaps = 1.0
    if TYPE_CHECKING:  # only read, so that a subclass may have a field, a constant or a property in their place

        @property
        def steps(self) -> int: ...
        @property
        def early_stop(self) -> bool: ...
        @property
        def concurrent(self) -> int: ...
        @property
        def warmup(self) -> float: ...
    else:
        early_stop, concurrent, warmup = False, 1, 0.16

    @property
    def confirms(self) -> bool:
        return self.keep_best

    @property
    def runs(self) -> int:
        """Jobs per image and ε, each from a start of its own."""
        return self.restarts

    @property
    def queries(self) -> int:
        """Queries a job may make: where iterates are verified, that after the last step is one too."""
        return self.steps + (self.keep_best or self.early_stop)

    @property
    def patience(self) -> int:
        """Queries before a job may give up: a power of two, as its progress is checked whenever the queries have doubled."""
        return 1 << max(1, int(math.log2(max(2.0, self.warmup * self.queries))))

    def start(self, rows: Rows, keys: Tensor) -> State:
        """Where new jobs begin.

        Args:
            rows: Their images, labels and budgets.
            keys: Random numbers of row i come from keys[i], int64 (N,).

        Returns:
            Their state, tensors with first dimension N, among them "x", the first iterate (N, C, H, W).
        """
        raise NotImplementedError

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        """What is to be minimized.

        Args:
            logits: (N, K).
            labels: (N,).
            aims: The classes to move towards, (N,); None to move away from the label.

        Returns:
            One value per row, (N,).
        """
        raise NotImplementedError

    def ask(self, model: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Output:
        """Query the model about the iterates; by default for the gradient of the objective, which an attack whose `access` is
        to less goes without.

        Args:
            model: The copy of the model.
            x: The iterates, (N, C, H, W).
            loss: The objective for these rows, logits (N·eot, K) → (N·eot,).
            rows: Their images, labels and budgets.
            keys: Of the noise of each, int64 (N,).

        Returns:
            What the model returned for them.
        """
        if self.access in (SCORES, LABELS):
            return Output(*loss_only(model, x, loss, keys, self.eot), gradient=None)
        return Output(*loss_gradient(model, x, loss, keys, self.eot))

    def step(self, state: State, output: Output, rows: Rows) -> None:
        """Put the next iterate, inside ball and box, into state["x"].

        Args:
            state: What `start` returned, or the last step left.
            output: The model's, for state["x"].
            rows: The images, labels and budgets.
        """
        raise NotImplementedError

    def rank(self, output: Output, x: Tensor, rows: Rows) -> Tensor:
        """What decides the better of two adversarial iterates, or of two that are not.

        Args:
            output: The model's, verified.
            x: The iterates it is about, (N, C, H, W).
            rows: The images, labels and budgets.

        Returns:
            (N,), lower is better; by default the loss.
        """
        return output.loss

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor | None:
        """Which iterates (N,) would end their job if they were adversarial; None for all."""
        return None

    def admitted(self, x: Tensor, rows: Rows) -> Tensor | None:
        """Which iterates may count, as a success or as the best one.

        Args:
            x: The iterates, (N, C, H, W).
            rows: The images, labels and budgets.

        Returns:
            (N,) bool; None for all, where the attack asks about no point outside the ε-ball.
        """
        return None

    def remaining(self, output: Output, state: State, rows: Rows) -> Tensor:
        """How far an iterate is from success, from which `give_up` decides.

        Args:
            output: The model's, not verified yet.
            state: Of the jobs.
            rows: The images, labels and budgets.

        Returns:
            (N,), negative once it succeeds.
        """
        return shortfall(output.logits, rows.labels, rows.targets)

    def aims(self, inputs: Inputs, clean_logits: Tensor | None, restart: int) -> Tensor | None:
        """The classes to move towards.

        Args:
            inputs: Of the call.
            clean_logits: Of the images, (N, K), where `needs_clean_logits`; else None.
            restart: Its number, from 0.

        Returns:
            int64 (N,); None to move away from the label.
        """
        return inputs.targets

    @property
    def needs_clean_logits(self) -> bool:
        """Whether `aims` wants the logits of the clean images."""
        return False

    def succeeded(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        """Which rows are adversarial: predicted as the target where there is one, else misclassified.

        Args:
            logits: (N, K).
            labels: (N,).
            targets: The classes to reach, (N,), or None.

        Returns:
            (N,) bool.
        """
        predicted = logits.argmax(1)
        return predicted != labels if targets is None else predicted == targets
