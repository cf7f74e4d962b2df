"""What an iterative attack is to the scheduler: a start, a loss, a step, and the iterate it answers with."""

from dataclasses import dataclass

from torch import Tensor

from .base import Attack, Outcome
from .problem import Problem

State = dict[str, Tensor]  # per-job tensors, first dimension the job; "x" holds the iterate to be evaluated next


@dataclass(frozen=True)
class Rows:
    """The jobs in the batch: which image each is about (N,), the original images (N, C, H, W), labels (N,), the class to
    reach (N,) or None, ε (N,) float64."""

    images_at: Tensor
    images: Tensor
    labels: Tensor
    aims: Tensor | None
    eps: Tensor


@dataclass(frozen=True)
class Answer:
    """What the model said of the iterates: logits (N, K), the attack's loss (N,) and its gradient (N, C, H, W)."""

    logits: Tensor
    loss: Tensor
    gradient: Tensor


class IterativeAttack(Attack):
    """An attack that takes `steps` gradient steps from a start point. A subclass implements start, objective and step.

    early_stop: a job leaves as soon as an iterate succeeds. restarts: how often a job that failed begins again. keep_best:
    the answer is the best iterate (adversarial before not, then the lowest loss), the start and the last one among them,
    which takes one more pass; otherwise it is the last iterate.
    """

    steps: int
    restarts: int = 1
    early_stop: bool = False
    keep_best: bool = False

    def start(self, rows: Rows, keys: list[tuple]) -> State:
        """The state of new jobs; random starts are drawn from `keys`."""
        raise NotImplementedError

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        """One value per row, (N,), to be minimized."""
        raise NotImplementedError

    def step(self, state: State, answer: Answer, rows: Rows) -> None:
        """Put the next iterate, inside ball and box, into state["x"]."""
        raise NotImplementedError

    def aims(self, problem: Problem, clean_logits: Tensor | None, restart: int) -> Tensor | None:
        """The class each image (N,) is moved towards in this restart; None moves it away from its label."""
        return problem.targets

    @property
    def needs_clean_logits(self) -> bool:
        """Whether `aims` wants the logits of the clean images."""
        return False

    def succeeded(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        """Which rows are adversarial, (N,) bool: at the target where there is one, else misclassified."""
        predicted = logits.argmax(1)
        return predicted != labels if targets is None else predicted == targets

    def _sweep(self, model, problem: Problem, epsilons: list[float]) -> list[Outcome]:
        from .scheduler import Stream

        return Stream(self, model, problem, epsilons).run()
