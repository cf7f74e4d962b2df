"""What hardening bought and what it cost, in one sentence; and how long it will take."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import escrime
from escrime import EscrimeError
from escrime.commands.harden.estimate import Expected, Speed, epochs_within, judging, seen_in, shorter, span, times
from escrime.commands.harden.outcome import Hardened, remedy, show
from escrime.commands.run.rates import Rates
from escrime.commands.shared.display import Display
from escrime.evaluation.cost import Passes
from escrime.evaluation.expected import UNSEEN, Outlook
from escrime.results.choosing import paired
from escrime.results.comparisons import Comparison
from escrime.results.findings import Finding
from escrime.results.statistics import mcnemar, paired_difference
from escrime.terminal import make_console
from escrime.training import TrainSettings


def scores(n, right):
    return np.arange(n) < right


def compared(after, before):
    value, low, high, n = paired_difference(after, before)
    ends = (value, low, high, int((after & ~before).sum()), int((before & ~after).sum()))
    return Comparison(
        ("after",), ("before",), 0.1, n, after.mean(), before.mean(), *ends, mcnemar(after, before), "McNemar, exact"
    )


def hardened(n, clean, robust, objections=()):
    """clean, robust: images right (before, after)."""
    pairs = [(scores(n, right[1]), scores(n, right[0])) for right in (clean, robust)]
    rows = [(name, compared(*pair)) for name, pair in zip(("clean", "worst case"), pairs)]
    overall = paired(*((one.astype(float) + other) / 2 for one, other in zip(*pairs)))
    return Hardened(0.1, rows, overall, list(objections))


CHANCE = Finding("near-chance", "alarm", "It guesses")
ALARM = Finding("gradient-misleads", "alarm", "The gradient misleads")


@pytest.mark.parametrize(
    ("found", "verdict", "said"),
    [
        (hardened(200, (190, 180), (4, 80)), "Worth it:", "Clean accuracy falls from 95.0% to 90.0% ("),
        (hardened(200, (190, 190), (4, 80)), "Worth it:", "Clean accuracy stays at 95.0%"),
        (hardened(12, (12, 11), (0, 1)), "Cannot tell", "Clean accuracy falls from 100.0% to 91.7%, which may be chance ("),
        (hardened(12, (12, 10), (0, 0)), "Cannot tell", "More images"),
        (hardened(400, (390, 380), (0, 2)), "Not worth it:", "interval"),
        (hardened(400, (390, 380), (40, 10)), "Not worth it:", "−7.5 points"),
        (hardened(200, (190, 100), (4, 40)), "Not worth it:", "The mean of clean and robust accuracy changes by −13.5 points"),
        (hardened(200, (190, 60), (4, 40)), "It collapsed: clean −", "Clean accuracy collapses from 95.0% to 30.0% ("),
        (hardened(5, (4, 0), (0, 0), [CHANCE]), "It collapsed: clean −", "Clean accuracy collapses from 80.0% to 0.0% ("),
        (hardened(200, (190, 160), (4, 40)), "Cannot tell", "The mean of clean and robust accuracy changes by +1.5 points"),
        (hardened(200, (190, 185), (4, 80), [ALARM]), "Cannot tell", "not to be believed (gradient-misleads)"),
    ],
)
def test_the_sentence(found, verdict, said):
    assert found.worth_it is {"W": True, "N": False, "I": False, "C": None}[verdict[0]]
    assert found.sentence.startswith(verdict) and said in found.sentence, found.sentence
    assert found.sentence.count("95 % interval") == 2 and "paired exact test p" in found.sentence


@pytest.mark.parametrize("n", [5, 20, 200, 4000])
@pytest.mark.parametrize("clean", [(1, 1), (1, 0.9), (1, 0.5), (1, 0), (0.7, 0.99)])
@pytest.mark.parametrize("robust", [(0, 0), (0, 1), (0.02, 0.4), (0.4, 0.02), (1, 0)])
def test_the_headline_has_both_with_intervals_in_80_columns(n, clean, robust):
    found = hardened(n, *([round(n * share) for share in shares] for shares in (clean, robust)))
    assert len(found.headline) <= 80 and found.headline.count("[") == 2 and "95 %" in found.headline, found.headline
    assert found.sentence == f"{found.headline} {found.details}"
    for row in (found.clean, found.robust):
        assert f"[{100 * row.low:+.0f}, {100 * row.high:+.0f}]".replace("-", "−") in found.headline


def test_a_model_that_is_ruined_is_never_sold():
    """Whatever its robust accuracy, and whatever else objects; and it says what to try."""
    found = replace(hardened(200, (190, 20), (4, 200), [ALARM]), remedy="Try less.")
    assert found.ruined and found.worth_it is False and found.sentence.endswith("Try less.")
    assert not hardened(200, (190, 180), (4, 80)).ruined and not hardened(5, (4, 2), (0, 0)).ruined


@pytest.mark.parametrize(("note", "frozen"), [("", False), ("It would suffer.", False), ("It stays.", True)])
def test_what_to_try(note, frozen):
    training = {"freeze_batchnorm": frozen, "learning_rate": 0.01}
    said = remedy({"experiment": {"training": training} | ({"batchnorm": note} if note else {})})
    assert said.startswith(
        "Try --set freeze_batchnorm=true, --set" if note and not frozen else "Try --set learning_rate=0.001 or"
    )


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_fits(width):
    out = io.StringIO()
    display = Display(make_console(file=out, width=width, force_terminal=True, color_system=None))
    show(display, hardened(200, (190, 185), (4, 80)))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(out.getvalue().split())
    for cell in ("clean", "95.0%", "92.5%", "−2.5", "worst case of all, ε = 0.1", "2.0%", "40.0%", "+38.0", "< 0.001", "Worth"):
        assert cell in text, cell


def test_a_budget_gives_as_many_epochs_as_fit():
    found = Expected(epoch=60.0, attacks=100.0, checks=50.0)
    assert epochs_within(600, 5, found) == 5 and epochs_within(300, 5, found) == 2 and epochs_within(120, 5, found) == 1
    quick = Expected(epoch=60.0, attacks=5.0, checks=5.0)
    assert epochs_within(300, 5, quick) == 4, "what the judging does not need is for training"
    with pytest.raises(EscrimeError, match="one epoch of fine-tuning would take about 60 s .* --budget 60 s is for judging"):
        epochs_within(60, 5, found)


def test_how_long_is_a_range_where_nobody_knows_what_is_withstood():
    whole, parts = times(Expected(epoch=60.0, attacks=200.0, checks=100.0, least=30.0), 5)
    assert whole == "6 to 10 min" and parts.startswith("fine-tuning 5 min, judging 30 s to 5 min, the more")
    assert times(Expected(60.0, 200.0, 100.0), 0) == ("5 min", "judging 5 min")
    assert span(40, 200) == "40 s to 3 min" and span(1, 5400) == "1 s to 1.5 h" and span(60, 61) == "60 to 61 s"


@pytest.mark.parametrize("keep", ["best", "last"])
def test_what_training_saw_of_the_model_it_left(keep):
    log = pd.DataFrame({"probe_clean": [0.9, 0.8], "probe_fgsm": [0.6, 0.5], "probe_pgd": [0.3, 0.2]})
    settings = TrainSettings(keep=keep, probe_images=8)
    right, single, many = (0.9, 0.6, 0.3) if keep == "best" else (0.8, 0.5, 0.2)
    assert seen_in(log, settings) == Outlook(right, many, many / single)
    assert seen_in(log * float("nan"), settings) is UNSEEN


def test_a_model_that_withstands_more_takes_longer():
    """Counted for a network that takes a second for everything."""
    attacks = {"FGSM": escrime.FGSM(0.1), "AutoAttack": escrime.AutoAttack(0.1)}
    grids = {name: [0.0, 0.1] for name in attacks}
    speed = Speed(Rates(1.0, 1.0), 1.0)

    def seconds(**after):
        return sum(judging(escrime.build("lenet", 10), attacks, grids, 20, speed, Outlook(**after)))

    assert seconds(right=0.9, stands=0.0) < seconds(right=0.9, stands=0.3) < seconds(right=0.9, stands=0.6)
    less = seconds(right=0.9, stands=0.0) - seconds(right=0.0, stands=0.0)
    assert less > 20 * 0.9 * 1000, "a transfer spends all its steps on what is right"


def test_a_small_network_takes_its_time_for_calls():
    """Those of every part of 64 images, one after another, however few images there are."""
    speed = Speed(Rates(1e-6, 1e-6), 1.0, call=0.01)
    assert speed.seconds(Passes(0, 100), 64, calls=100) == pytest.approx(1.0064)
    assert speed.seconds(Passes(0, 100), 65, calls=100) == pytest.approx(2.0065)
    assert speed.or_faster(Speed(Rates(2e-6, 1e-7), 0.5, call=0.02)) == Speed(Rates(1e-6, 1e-7), 1.0, call=0.01)


def test_what_makes_it_shorter():
    def advice(found, **changes):
        values = {"epochs": 5, "size": 224, "test": 3000, "budget": None, "device": "cpu"} | changes
        request = SimpleNamespace(budget=values["budget"])
        return " ".join(
            shorter(request, found, values["epochs"], values["size"], values["test"], SimpleNamespace(type=values["device"]))
        )

    judging, training = Expected(1.0, 5000.0, 100.0), Expected(5000.0, 1.0, 1.0)
    assert "--limit" in advice(judging) and "--epochs" not in advice(judging)
    assert "--epochs 2" in advice(training) and "--limit" not in advice(training)
    assert "--size 112" in advice(judging) and "--size" not in advice(judging, size=32)
    assert "--budget" in advice(judging) and "--budget" not in advice(judging, budget=60.0)
    assert "GPU" in advice(judging) and "GPU" not in advice(judging, device="cuda")
