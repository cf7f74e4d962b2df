"""`progress=` means the same everywhere: a callable is called, True draws, False and None do not where nobody looks."""

import pytest
import torch
from torch import nn

import escrime
from escrime import progress
from escrime.models import deadline
from escrime.training import TrainSettings


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


@pytest.fixture
def data(model):
    images = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float() / 255
    return images, torch.arange(24) % 3


ENTRIES = {
    "an attack": lambda model, data, how: escrime.PGD(0.1, steps=4)(model, *data, progress=how),
    "a single step": lambda model, data, how: escrime.FGSM(0.1)(model, *data, progress=how),
    "a sweep": lambda model, data, how: escrime.AutoAttack(0.1, steps=2, queries=4).sweep(model, *data, [0.1], progress=how),
    "evaluate": lambda model, data, how: escrime.evaluate(model, data, escrime.FGSM(0.1), checks=False, progress=how),
    "fit": lambda model, data, how: escrime.fit(model, data, settings=TrainSettings(epochs=2, batch_size=8), progress=how),
    "tune": lambda model, data, how: escrime.tune(
        model, data, 0.1, eps_max=[0.05, 0.1], samples=[2], steps=2, draws=1, eot=1, progress=how
    ),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_tells_how_far_it_is_and_ends_at_the_end(entry, model, data, capsys):
    told = []
    entry(model, data, lambda done, total, note: told.append((done, total, note)))
    done = [row[0] for row in told]
    assert told and done == sorted(done) and all(row[0] <= row[1] for row in told) and told[-1][0] == told[-1][1]
    assert any(row[2] for row in told) and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_nothing_is_drawn_where_nobody_looks_unless_it_is_asked_for(entry, model, data, capsys):
    entry(model, data, None)
    entry(model, data, False)
    assert capsys.readouterr() == ("", "")
    entry(model, data, True)
    out, err = capsys.readouterr()
    assert out == "" and "done" in err


def test_an_attack_inside_of_other_work_draws_no_bar_of_its_own(model, data, monkeypatch):
    asked = []
    monkeypatch.setattr("escrime.attacks.core.base.shown", lambda *how: asked.append(how))
    with deadline.listening(lambda rows: None):
        escrime.FGSM(0.1)(model, *data)
    assert not asked


def test_a_bar_that_nobody_asked_for_waits(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("escrime.bars.is_watched", lambda console: True)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    drawn = []

    class Bar:
        def __init__(self, *about):
            drawn.append(about[1])

        def __enter__(self):
            return lambda **values: drawn.append(values["done"])

        def __exit__(self, *error):
            return None

    monkeypatch.setattr("escrime.bars.bar", Bar)
    with progress.shown(None, "Work") as listener:
        listener(1, 3, "")
        now[0] = progress.PATIENCE + 1
        listener(2, 3, "")
    assert drawn == ["Work", 2]
