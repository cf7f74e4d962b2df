"""Time that is up is noticed before the next batch, and by nobody who takes it for a failure of the model."""

import pytest
import torch

from escrime.models import deadline as module
from escrime.models.deadline import OutOfTime, as_time_allows, deadline, listening, look, time_left
from escrime.models.running import Batches


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told to."""
    now = [100.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    return now


def test_a_loop_over_batches_ends_within_one(clock):
    asked = []

    def call(rows):
        asked.append(rows)
        clock[0] += 1

    with pytest.raises(OutOfTime), deadline(2.5):
        Batches(4).map(call, 40)
    assert len(asked) == 3
    assert len(Batches(4).map(call, 40)) == 10, "without a deadline nothing ends early"


def test_it_is_no_failure_of_a_model(clock):
    with pytest.raises(OutOfTime), deadline(1):
        clock[0] += 2
        try:
            look()
        except Exception:
            pytest.fail("taken for a failure of the model")


def test_an_inner_deadline_is_never_later_than_an_outer_one(clock):
    assert time_left() is None
    with deadline(10):
        with deadline(20):
            assert time_left() == 10
        with deadline(3):
            assert time_left() == 3
        with deadline(None):
            assert time_left() == 10
    assert time_left() is None


def test_what_is_cut_short_is_noted_and_the_rest_goes_on(clock):
    reached = []
    with deadline(1) as limit:
        with as_time_allows("one"):
            look()
        clock[0] += 2
        for name in ("two", "three"):
            with as_time_allows(name):
                look()
                reached.append(name)
    assert limit.cut == ["two", "three"] and not reached
    with as_time_allows("four"):
        look()


def test_who_listens_is_told_how_many_images_are_asked_about():
    told = []
    with listening(told.append):
        Batches(4).map(lambda rows: None, 10)
    Batches(4).map(lambda rows: None, 10)
    assert told == [4, 4, 2]


def test_every_attack_looks_at_it(clock):
    """Each ends within one batch of the deadline, whatever it asks."""
    from escrime import attacks as known

    class Slow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(12, 3)

        def forward(self, x):
            clock[0] += 1
            return self.layer(x.flatten(1))

    torch.manual_seed(0)
    images, model = torch.rand(6, 3, 2, 2), Slow().eval()
    labels = model(images).argmax(1)
    many = {"steps": 50}  # and ε so small that none succeeds early
    attacks = [known.PGD(1e-4, **many), known.APGD(1e-4, **many), known.AutoAttack(1e-4), known.Square(1e-4)]
    attacks += [known.FMN(1e-4, **many), known.CarliniWagner(1e-4), known.RayS(1e-4, queries=99)]
    attacks += [known.RandomPoints(1e-4, draws=9999), known.WorstCase(known.PGD(1e-4, **many))]
    for attack in attacks:
        began = clock[0]
        with pytest.raises(OutOfTime), deadline(7.5):
            attack(model, images, labels)
            pytest.fail(f"{attack.name} has not looked at the time")
        assert clock[0] - began <= 7.5 * 1.2 + 2, attack.name
        assert not model.training and all(p.requires_grad for p in model.parameters())
