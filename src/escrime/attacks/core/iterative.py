"""The base of attacks that take steps: what such an attack implements (stepwise.py), run by the loop (scheduler.py)."""

from torch import Tensor

from ...models.fast.twin import Twin
from .base import Outcome
from .inputs import Inputs
from .jobs import EpsGrid
from .rows import Output, Rows, State, wide
from .scheduler import Loop
from .stepwise import Stepwise

__all__ = ["Output", "IterativeAttack", "Rows", "State", "wide"]  # what a new attack is written with


class IterativeAttack(Stepwise):
    """An attack that queries the model about `steps` iterates from a start point. A subclass implements start, objective and
    step, and may replace ask, rank, near_enough and remaining; a job whose state has "done" set leaves after its next query.

    What its settings mean, as fields, constants or properties:

    - steps: from the start on, each after one query of the model.
    - restarts: how often a job that failed begins again, `runs` in all where an attack takes several to one restart.
    - early_stop: a job leaves as soon as an iterate succeeds. Against noise (eot > 1) an attack that `confirms` then leaves
      once all draws of a query succeed and so do CERTAIN fresh ones of the same iterate, which is tested whenever the queries
      have doubled; so at most 2 % of the draws are still classified right, with 95 % confidence.
    - keep_best: the result is the best iterate (adversarial before not, then the lowest rank), the start and the last one
      among them, which takes one more pass; otherwise it is the last iterate.
    - give_up: a job leaves when success is out of sight: when what remains is more than `give_up` times what the coming
      doublings of its queries would gain, if each gained as much as the last one, or as one did on average where that is
      more; None spends the whole budget. Against noise what remains is that of the draw nearest to success: an image stays
      where any draw of any query succeeded or nearly did.
    """

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        return Loop(self, twin, inputs, budgets, EpsGrid(wanted, self.runs, self.concurrent)).run()
