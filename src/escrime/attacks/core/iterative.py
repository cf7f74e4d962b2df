"""What an iterative attack is to the scheduler: a start, a question to the model, a step, and the iterate it answers with."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...norms import Norm
from .base import Attack, Outcome
from .gradients import loss_gradient
from .inputs import Problem
from .losses import gap

State = dict[str, Tensor]  # per-job tensors, first dimension the job; "x" holds the iterate to be evaluated next


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
class Answer:
    """What the model said of the iterates: logits (N, K), the attack's loss (N,), its gradient, and, once verified, which
    iterates succeed (N,) bool. gradient: of the loss (N, C, H, W); or of the logits of `classes` (N, M), (N, M, C, H, W);
    None where the attack uses scores only."""

    logits: Tensor
    loss: Tensor
    gradient: Tensor | None
    classes: Tensor | None = None
    success: Tensor | None = None


class IterativeAttack(Attack):
    """An attack that asks the model about `steps` iterates from a start point. A subclass implements start, objective and
    step, and may replace ask, rank, near_enough and remaining; a job whose state says "done" leaves with its next answer.

    early_stop: a job leaves as soon as an iterate succeeds. Against noise (eot > 1) an attack that `settles` then leaves once
    all draws of an answer succeed and so do CERTAIN fresh ones of the same iterate, which is looked at whenever its answers
    have doubled; so at most 2 % of the draws are still right, with 95 % confidence. restarts: how often a job that failed
    begins again, `runs` in all where an attack takes several to one restart. keep_best: the answer is the best iterate
    (adversarial before not, then the lowest rank), the start and the last one among them, which takes one more pass;
    otherwise it is the last iterate. give_up: a job leaves when success is out of sight: when what remains is more than
    `give_up` times what the coming doublings of its answers would gain, if each gained as
    much as the last one, or as one did on average where that is more; None spends the whole budget. Against noise what
    remains is that of the draw nearest to success: an image stays where any draw of any answer succeeded or nearly did.
    """

    steps: int
    restarts: int = 1
    early_stop: bool = False
    keep_best: bool = False
    give_up: float | None = None
    plateaus = False  # whether, against noise, a job also leaves where the average of its answers falls no more
    abreast = 1  # restarts that run side by side, of which the first success ends the others: a fixed number, so that
    # what an image costs does not depend on how full the batch is
    settling = 0.16  # the share of its answers that a job has before it may give up

    @property
    def settles(self) -> bool:
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
        return 2 ** max(1, int(math.log2(max(2.0, self.settling * self.queries))))

    def start(self, rows: Rows, keys: Tensor) -> State:
        """The state of new jobs; random numbers of row i come from keys[i], (N,) int64."""
        raise NotImplementedError

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        """One value per row, (N,), to be minimized."""
        raise NotImplementedError

    def ask(self, model, x: Tensor, loss: Callable[[Tensor], Tensor], rows: Rows, keys: Tensor) -> Answer:
        """Put the iterates x (N, C, H, W) to the model. `loss` is the objective for these rows, each repeated `eot` times."""
        return Answer(*loss_gradient(model, x, loss, keys, self.eot))

    def step(self, state: State, answer: Answer, rows: Rows) -> None:
        """Put the next iterate, inside ball and box, into state["x"]."""
        raise NotImplementedError

    def rank(self, answer: Answer, x: Tensor, rows: Rows) -> Tensor:
        """What tells the better of two adversarial iterates, or of two that are not: lower is better, (N,)."""
        return answer.loss

    def near_enough(self, x: Tensor, rows: Rows) -> Tensor | None:
        """Which iterates (N,) would end their job if they were adversarial; None for all."""
        return None

    def remaining(self, answer: Answer, state: State, rows: Rows) -> Tensor:
        """What an iterate lacks to success (N,), negative once it succeeds."""
        return gap(answer.logits, rows.labels, rows.targets)

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

    def _sweep(self, twin, problem: Problem, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        from .jobs import EpsGrid
        from .scheduler import Stream

        return Stream(self, twin, problem, budgets, EpsGrid(wanted, self.runs, self.abreast)).run()
