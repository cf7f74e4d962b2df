"""The loop's three parts: the batch, the results, and an attack's own state, in which names are the attack's to choose."""

from dataclasses import dataclass, replace

import pytest
import torch

from escrime import PGD
from escrime.attacks.core.batch import Batch
from escrime.attacks.core.jobs import Job
from escrime.attacks.core.progress import Progress
from escrime.attacks.core.results import Results
from escrime.attacks.core.rows import Rows
from escrime.norms import NORMS

TAKEN = ("rank", "queries", "remaining", "remaining_before", "remaining_first", "margin_before", "margin_sum", "variance_sum")


@dataclass(frozen=True)
class Bookish(PGD):
    """PGD with notes of its own: how many steps a job has made."""

    give_up: float | None = None
    names: tuple[str, ...] = ()

    def start(self, rows, keys):
        return super().start(rows, keys) | {name: torch.zeros(len(rows.images), 1, 2) for name in self.names}

    def step(self, state, output, rows):
        super().step(state, output, rows)
        for name in self.names:
            state[name] = state[name] + 1
            assert (state[name][:, 0, 0] == state["taken"]).all(), name


@pytest.mark.parametrize("give_up", [None, 2.0])
def test_an_attack_may_call_its_state_as_it_likes(network, images, give_up):
    labels = network(images).argmax(1)
    attacks = (Bookish(0.05, steps=12, give_up=give_up, names=names) for names in ((), TAKEN))
    for one, other in zip(*(attack.sweep(network, images, labels, [0.01, 0.05]) for attack in attacks), strict=True):
        assert torch.equal(one.adversarial, other.adversarial) and torch.equal(one.forwards, other.forwards)


def batch(count, first=0):
    """Jobs whose every tensor shows which one it is."""
    number = torch.arange(first, first + count)
    x = number.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    rows = Rows(x, number, None, None, number.double(), NORMS["l2"])
    progress = Progress(*[number.float()] * 6)
    rank = torch.stack([number.float()] * 2, 1)
    jobs = torch.stack([number, number, number], 1)
    return Batch(jobs, number.clone(), number.clone(), rows, {"x": x, "best": x, "own": number}, rank, progress)


def test_all_that_belongs_to_a_job_enters_and_leaves_with_it():
    both = batch(3).join(batch(2, first=3))
    left = both.only(torch.tensor([True, False, True, False, True]))
    for what, wanted in ((both, [0, 1, 2, 3, 4]), (left, [0, 2, 4])):
        tensors = [*what.state.values(), what.jobs, what.keys, what.queries, what.rank, *vars(what.progress).values()]
        tensors += [value for value in vars(what.rows).values() if isinstance(value, torch.Tensor)]
        assert len(tensors) >= 16 and len(what) == len(wanted)
        assert all(value.flatten(1).double().mean(1).tolist() == wanted for value in (t.view(len(t), -1) for t in tensors))
    bare = replace(both, rank=None, progress=None)
    assert bare.join(bare).rank is None and bare.only(both.queries > 1).progress is None


def test_the_best_iterate_is_adversarial_first_then_of_the_lowest_rank():
    one = batch(5)
    one.rank = torch.tensor([[1.0, 5], [0, 5], [0, 5], [1, float("inf")], [0, 5]])
    one.state["x"] = one.state["x"] + 10
    one.keep_best(torch.tensor([[0.0, 9], [1, 1], [0, 4], [1, 7], [0, 6]]), None)
    assert one.state["best"][:, 0, 0, 0].tolist() == [10, 1, 12, 13, 4]
    assert one.rank.tolist() == [[0, 9], [0, 5], [0, 4], [1, 7], [0, 5]]
    one.keep_best(torch.zeros(5, 2), torch.tensor([False, True, False, False, False]))
    assert one.state["best"][:, 0, 0, 0].tolist() == [10, 11, 12, 13, 4], "what may not count is not kept, however good"


def test_results_keep_the_lowest_rank_of_a_jobs_restarts_and_tell_the_last_to_leave():
    results = Results(torch.zeros(2, 1, 1, 1), 2)
    results.enter(Job(1, 0), 2)
    x, far = torch.ones(1, 1, 1), torch.tensor(0.5, dtype=torch.float64)
    assert not results.leave(Job(1, 0, 0), x, torch.tensor([0.0, 3.0]), torch.tensor(True), far)
    assert results.leave(Job(1, 0, 1), 2 * x, torch.tensor([1.0, 1.0]), torch.tensor(False), 2 * far)
    results.spend((torch.tensor([0, 0]), torch.tensor([1, 1])), torch.ones(2), torch.ones(2))
    own, other = results.outcomes(None, passes=3, before=1.0, verified=True)
    assert own.adversarial.flatten().tolist() == [0, 1] and own.success.tolist() == [False, True]
    assert own.forwards.tolist() == [0.5, 6.5] and own.backwards.tolist() == [0, 6]
    assert not other.success.any() and not other.adversarial.any()
    borrowed = results.outcomes(torch.tensor([[-1, -1], [-1, 0]]), passes=1, before=0.0, verified=False)
    assert [o.adversarial.flatten().tolist() for o in borrowed] == [[0, 0], [0, 1]] and borrowed[1].success is None
