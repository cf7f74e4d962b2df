"""The bar of a training: steps and looks at the images held back are both work, and it ends where the work does."""

import io

import pytest

import escrime
from escrime.commands.shared import fitting
from escrime.commands.shared.display import Display
from escrime.commands.shared.fitting import PROBE, Watch
from escrime.models.deadline import listening
from escrime.terminal import make_console
from escrime.training import TrainSettings, fit, objective


def trained(monkeypatch, held, every=5.0):
    """(what a bar was told, the lines said) of a training of 3 epochs."""
    told, out = [], io.StringIO()
    ticks = iter(range(10**6))
    monkeypatch.setattr(fitting, "clock", lambda: 5.0 * next(ticks) if every else 0.0)
    settings = TrainSettings(epochs=3, batch_size=16, probe_images=held)
    data, goal = escrime.data.load("digits").train.select(list(range(100))), objective("n-fgsm", eps=0.1)
    watch = Watch(
        Display(make_console(file=out, width=80)), "Harden", lambda **about: told.append(about), goal, settings, len(data)
    )
    with listening(watch.meter):
        fit(escrime.build("lenet", 10), data, goal, settings=settings, on_batch=watch.batch, on_epoch=watch.epoch)
    watch.over()
    return told, out.getvalue()


def test_looks_at_the_images_held_back_move_the_bar(monkeypatch):
    told, _ = trained(monkeypatch, held=40)
    looking = [row for row in told if row["note"].endswith(PROBE)]
    assert len(looking) > 3 * 5, "an attack of ten steps tells of each"
    done = [row["done"] for row in told]
    assert done == sorted(done) and done[-1] == told[-1]["total"]
    share = [max(row["done"] for row in told if row["note"].startswith(f"epoch {epoch}/3")) / done[-1] for epoch in (1, 2)]
    assert share == pytest.approx([2 / 3, 1], abs=0.1), "as far as the work is"
    late = [row["total"] for row in told if row["note"].startswith(("epoch 1/3", "epoch 2/3"))]
    assert max(late) < 1.5 * done[-1], "measured from the first epoch on"
    assert told[-1]["note"].startswith("epoch 3/3 loss") and PROBE not in told[-1]["note"]


def test_without_such_images_only_steps_count(monkeypatch):
    told, _ = trained(monkeypatch, held=0)
    assert not any(PROBE in row["note"] for row in told)
    assert len({row["total"] for row in told}) == 1 and told[-1]["done"] == told[-1]["total"]


@pytest.mark.parametrize(("every", "lines"), [(5.0, 2), (0.0, 0)])
def test_where_no_bar_is_seen_long_epochs_have_a_line(monkeypatch, every, lines):
    """The last one's is the end of the bar."""
    _, said = trained(monkeypatch, held=0, every=every)
    assert said.count("Harden: epoch") == lines
