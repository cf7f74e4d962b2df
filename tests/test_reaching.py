"""Rows in which strength comes first: what a peer's example has to be to count, and whose time is compared."""

import pytest
import torch
from torch import nn

from benchmarks import reaching
from benchmarks.models import Subject
from benchmarks.sparse import values
from escrime.norms import NORMS

CPU = torch.device("cpu")


class Sum(nn.Module):
    """Class 1 where the colors sum to more than 1."""

    def forward(self, images):
        total = images.flatten(1).sum(1)
        return torch.stack([torch.ones_like(total), total], dim=1)


@pytest.fixture
def subject():
    return Subject(Sum(), torch.zeros(4, 3, 2, 2), torch.zeros(4, dtype=torch.long), False)


def examples(subject, *changed):
    """The images with so many color values at 1, those of one pixel first."""
    found = subject.images.clone().permute(0, 2, 3, 1).flatten(1)
    for image, count in enumerate(changed):
        found[image, :count] = 1
    return found.view(-1, 2, 2, 3).permute(0, 3, 1, 2).contiguous()


def test_an_example_beyond_eps_fools_nobody_and_one_that_is_right_neither(subject):
    found = examples(subject, 0, 1, 2, 5)  # the first two are right; the last lies beyond ε
    assert reaching.accuracy(subject, "l1", 3.0).of(found) == 0.75
    assert reaching.accuracy(subject, "l1", 5.0).of(found) == 0.5
    assert reaching.accuracy(subject, "l0", 1).of(found) == 0.75


def test_an_image_that_was_not_fooled_is_infinitely_far(subject):
    assert reaching.distance(subject, "l1").of(examples(subject, 0, 2, 3, 4)) == 3
    assert reaching.distance(subject, "l1").of(examples(subject, 0, 1, 1, 4)) == float("inf")


def test_the_fastest_of_those_that_come_as_near_is_raced_at_the_least_budget_that_does(subject, monkeypatch):
    made = {
        "strong": examples(subject, 2, 2, 2, 2),
        "weak": examples(subject, 0, 0, 2, 2),
        "level": examples(subject, 3, 3, 3, 3),
    }
    seconds = {"strong": 8.0, "weak": 1.0, "level": 6.0, ("mine", 10): 1.0, ("mine", 100): 2.0}
    raced = []

    def in_turns(calls, rounds, device, clock):
        raced.extend(calls)
        return {name: [seconds[name]] * rounds for name in calls}

    def timed(call, device, clock):
        found = call()
        return next(seconds[name] for name, own in made.items() if own is found), found

    def broken():
        raise ValueError("no such norm")

    monkeypatch.setattr(reaching, "in_turns", in_turns)
    monkeypatch.setattr(reaching, "timed", timed)
    own = {"mine": lambda k: lambda: made["strong" if k >= 10 else "weak"]}
    peers = {name: lambda name=name: made[name] for name in made} | {"broken": broken}
    runs = reaching.run(peers, CPU)
    (line,) = reaching.rows("work", reaching.accuracy(subject, "l1", 3.0), runs, own, (1, 10, 100), 2, CPU)
    assert raced == ["level", ("mine", 10), ("mine", 100)]
    assert line == "| work, mine | strong 0.0% | level | 0.0%, 3.0× | 10: 0.0%, 6.0× |"


def test_a_row_says_where_no_budget_comes_as_near(subject, monkeypatch):
    monkeypatch.setattr(reaching, "in_turns", lambda calls, *_: {name: [1.0] for name in calls})
    peers = {"strong": lambda: examples(subject, 2, 2, 2, 2)}
    own = {"mine": lambda k: lambda: examples(subject, 2, 2, 0, 2)}
    runs = reaching.run(peers, CPU)
    (line,) = reaching.rows("work", reaching.accuracy(subject, "l1", 3.0), runs, own, (1, 10), 1, CPU)
    assert line.endswith("| 25.0%, 1.0× | never as near |")


def test_seen_as_color_values_the_network_is_the_same_and_l0_counts_them(subject):
    flat, found = values(subject), torch.rand(4, 3, 2, 2)
    assert torch.equal(flat.model(found.reshape(flat.images.shape)), subject.model(found))
    found = examples(subject, 1, 2, 3, 4)
    assert NORMS["l0"].distance(found, subject.images).tolist() == [1, 1, 1, 2]
    assert NORMS["l0"].distance(found.reshape(flat.images.shape), flat.images).tolist() == [1, 2, 3, 4]
