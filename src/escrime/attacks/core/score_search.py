"""What random searches with the model's scores alone have in common: they ask, compare, and keep what is better."""

from torch import Tensor

from ...validation import check_whole
from .iterative import IterativeAttack
from .losses import LOSSES, check_loss, shortfall


class ScoreSearch(IterativeAttack):
    """Base of attacks whose step proposes a change of the accepted point, state["best"], kept where the loss falls.

    A subclass is a frozen dataclass with the fields `queries`, `restarts` and `loss`; it implements `start` and `step`.
    """

    queries: int
    restarts: int
    loss: str

    access = "scores"
    plateaus = True
    leaps = 2.0
    keep_best = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        self._put(check_whole, "queries", hint="such as 5000: the start alone takes one")
        self._put(check_whole, "restarts", hint="the first start counted too")

    @property
    def warmup(self) -> float:
        """64 queries: random search gains by leaps, so fewer show little, but these whether it gets anywhere."""
        return min(max(0.016, 80 / self.queries), 1.0)

    @property
    def steps(self) -> int:
        """Proposals after the start."""
        return self.queries - 1

    def objective(self, logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
        return (shortfall if self.loss == "margin" else LOSSES[self.loss])(logits, labels, aims)
