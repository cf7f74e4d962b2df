"""An evaluation within a given time: how long it takes, what it keeps, what it says of the rest, and that it is the same."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

import escrime
from escrime import EscrimeError
from escrime.attacks import FGSM, PGD, AutoAttack, Square
from escrime.evaluation import Effort
from escrime.evaluation.cost import Passes
from escrime.evaluation.progress import Meter
from escrime.models import deadline as module

KEYS = ["attack", "eps", "image"]
QUICK = Effort(images=8, steps=4, queries=10, draws=5, eot=1, doublings=0)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only slow models move."""
    now = [0.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    return now


@pytest.fixture
def slow(clock):
    """A linear model of four classes that takes a hundredth of a second for each image, and keeps some of them at ε = 0.02."""

    class Slow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(48, 4)

        def forward(self, x):
            clock[0] += 0.01 * len(x)
            return 10 * self.layer(x.flatten(1) - 0.5)

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Slow().eval()


@pytest.fixture
def data(slow, clock):
    images = torch.rand(150, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = slow(images).argmax(1)
    order = labels.argsort()  # as a folder is read: one class after the other
    clock[0] = 0.0
    return images[order], labels[order]


def several():
    return {"FGSM": FGSM(0.02), "AutoAttack": AutoAttack(0.02), "Square": Square(0.02, queries=200), "PGD": PGD(0.02)}


GRIDS = {"FGSM": [0.0, 0.005, 0.01, 0.02]}


@pytest.mark.parametrize("budget", [10, 40])
def test_a_budget_is_kept(budget, slow, data, clock):
    found = escrime.evaluate(slow, data, several(), epsilons=GRIDS, budget=budget)
    assert clock[0] <= 1.2 * budget
    (budgeted,) = (finding for finding in found.checks if finding.id == "budget")
    left = budgeted.evidence
    assert left["images"] > 100 and not found.verdicts[0].believe
    assert (budgeted.severity == "warning") == (150 in left["attacks"].values() or bool(left["checks"]))
    assert ("budget" in found.verdicts[0].sentence) == (budgeted.severity == "warning")


def test_what_there_is_time_for_is_what_there_would_be_without_a_limit(slow, data, clock):
    """The images that all attacks finished have the rows of an evaluation without a budget, and are a fair sample."""
    attacks = {"FGSM": FGSM(0.02), "PGD": PGD(0.02, steps=10)}
    whole = escrime.evaluate(slow, data, attacks, epsilons=GRIDS, checks=False).records
    part = escrime.evaluate(slow, data, attacks, epsilons=GRIDS, checks=False, budget=15).records
    kept = part[part["image"].isin(set(part[part["attack"] == "PGD"]["image"]))]
    assert 16 <= kept["image"].nunique() < 150
    assert kept.drop_duplicates("image")["label"].nunique() == 4, "not the first class alone"
    same = whole.merge(kept[KEYS], on=KEYS)
    one, two = (rows.sort_values(KEYS, ignore_index=True) for rows in (same, kept))
    pd.testing.assert_frame_equal(one, two)


def test_with_time_enough_everything_is_done(slow, data, clock):
    """All of the effort that the checks were given, and no word about a budget."""
    few = data[0][::5], data[1][::5]
    attacks = {"FGSM": FGSM(0.02), "PGD": PGD(0.02, steps=10)}
    usual = escrime.evaluate(slow, few, attacks, checks=QUICK)
    within = escrime.evaluate(slow, few, attacks, checks=QUICK, budget="10h")
    one, two = (found.records.sort_values(KEYS, ignore_index=True) for found in (usual, within))
    pd.testing.assert_frame_equal(one, two)
    assert [finding.as_dict() for finding in usual.checks] == [finding.as_dict() for finding in within.checks]


def test_images_alone_that_were_left_are_a_note(slow, data, clock):
    found = escrime.evaluate(slow, data, {"PGD": PGD(0.02, steps=40)}, checks=QUICK, budget=30)
    (budget,) = (finding for finding in found.checks if finding.id == "budget")
    left = budget.evidence
    assert budget.severity == "note" and 0 < left["images"] < 150 and not left["checks"] and left["of"] == 150
    assert left["attacks"] == {"PGD": left["images"]}
    assert found.verdicts[0].n == 150 - left["images"]


def test_an_examination_takes_the_time_that_it_was_thought_to_need(slow, data, clock, monkeypatch):
    """Where the estimate was far too high, the time that is left goes into more images, at the rate that was measured."""
    from escrime.evaluation import pipeline

    few, effort = (data[0][::3], data[1][::3]), Effort(images=40, steps=4, queries=10, draws=5, eot=1, doublings=0)
    whole = escrime.evaluate(slow, few, PGD(0.02, steps=10), checks=effort)
    clock[0] = 0.0
    monkeypatch.setattr(pipeline, "passes_of_scope", lambda *about: (Passes(10_000, 10_000), Passes(1, 1)))
    found = escrime.evaluate(slow, few, PGD(0.02, steps=10), checks=effort, budget=400)
    assert clock[0] < 400 and not [finding for finding in found.checks if finding.id == "budget"]
    assert [f.as_dict() for f in found.checks] == [f.as_dict() for f in whole.checks]


def test_what_fell_already_costs_an_examination_nothing(slow, data, clock, monkeypatch):
    """At a large ε nearly nothing stands, so that there is time to examine all, and at once."""
    from escrime.evaluation import pipeline

    looked, probe = [], pipeline.probe
    monkeypatch.setattr(pipeline, "probe", lambda *about: looked.append(about) or probe(*about))
    effort = Effort(images=40, steps=50, queries=500, draws=200, eot=1, doublings=1)
    few, budget = (data[0][::3], data[1][::3]), 100
    for eps, done in ((0.5, True), (0.005, False)):
        clock[0] = 0.0
        found = escrime.evaluate(slow, few, PGD(eps, steps=10), checks=effort, budget=budget)
        assert ("budget" not in {finding.id for finding in found.checks}) == done and clock[0] < 1.2 * budget
        assert not done or len(looked) == 1


def test_whether_it_is_better_than_guessing_is_seen_on_all_images(slow, data, clock):
    """A look at a few images within the budget cannot tell for a model that is right on a third of them."""
    few, labels = data[0][::2], data[1][::2].clone()
    labels[torch.arange(len(labels)) % 3 > 0] += 1
    found = escrime.evaluate(slow, (few, labels % 4), PGD(0.02, steps=3), checks=QUICK, budget=60)
    (chance,) = (finding for finding in found.checks if finding.id == "near-chance")
    assert chance.evidence["images"] == 75


def test_an_attack_of_anybody_is_ended_too(slow, data, clock):
    def endless(model, images, labels):
        while True:
            model(images)

    endless.eps = 0.02
    found = escrime.evaluate(slow, data, {"FGSM": FGSM(0.02), "endless": endless}, checks=QUICK, budget=30)
    assert clock[0] <= 36 and set(found.records["attack"]) == {"FGSM"}
    assert "endless was run on no image" in next(f.message for f in found.checks if f.id == "budget")
    assert not slow._forward_pre_hooks


@pytest.mark.parametrize("budget, said", [(0.001, "none of it was left"), (6.0, r"\d\.\d s of it was left")])
def test_no_time_for_anything(budget, said, slow, data, clock):
    """How much there was is said, and what is said to be enough for a few images is."""
    few, attack = (data[0][::5], data[1][::5]), PGD(0.02, steps=100, early_stop=False)
    with pytest.raises(EscrimeError, match="time was up before any attack had finished one image.*larger budget") as error:
        escrime.evaluate(slow, few, attack, budget=budget, checks=False)
    match = re.search(rf"{said}, and this takes about (\d+) s for 20 images and about (\d+) min for all 30", str(error.value))
    assert match is not None, error.value
    some, whole, needed = int(match[1]), 60 * int(match[2]), 20 * 100 * 0.01  # of one step on each image
    assert needed <= some <= 5 * needed and 1.5 * some == pytest.approx(whole, abs=30)
    assert escrime.evaluate(slow, few, attack, budget=some, checks=False).verdicts[0].n >= 8


def test_what_is_said_to_be_needed_is_more_than_what_was_not_enough(slow, data):
    """A search by scores asks thousands of times where an image stands, which nobody knows before."""
    few = data[0][::5], data[1][::5]
    black_box = lambda x: slow(x).detach()  # noqa: E731
    with pytest.raises(EscrimeError, match="time was up") as error:
        escrime.evaluate(black_box, few, Square(0.001, queries=5000), budget=20.0, checks=False)
    match = re.search(r"([\d.]+) s of it was left, and this takes about (\d+) min", str(error.value))
    assert match is not None and 60 * int(match[2]) > 4 * float(match[1]), error.value


def test_an_examination_is_done_again_where_the_time_suffices_for_that_one(slow, data, clock, monkeypatch):
    """Its share was too little, and the other examination left enough of its own: less than all of them would take again."""
    from escrime.evaluation import pipeline

    effort = Effort(images=30, steps=4, queries=10, draws=5, eot=1, doublings=0)
    attacks = {"linf": PGD(0.02, steps=10), "l2": PGD(0.05, norm="l2", steps=10)}
    dear = lambda scope, *about: (Passes(600, 600) if scope.norm == "linf" else Passes(1, 1), Passes(1, 1))  # noqa: E731
    monkeypatch.setattr(pipeline, "passes_of_scope", dear)
    found = escrime.evaluate(slow, (data[0][::5], data[1][::5]), attacks, checks=effort, budget=180)
    assert clock[0] < 180 and not [finding for finding in found.checks if finding.id == "budget"]


def test_an_examination_that_was_cut_short_is_named_with_its_norm(slow, data, clock):
    few, effort = (data[0][::3], data[1][::3]), Effort(images=40, steps=50, queries=500, draws=200, eot=1, doublings=1)
    attacks = {"linf": PGD(0.002, steps=5), "l2": PGD(0.02, norm="l2", steps=5)}
    found = escrime.evaluate(slow, few, attacks, checks=effort, budget=60)
    budgets = [finding for finding in found.checks if finding.id == "budget"]
    assert budgets and len({finding.norm for finding in budgets}) == len(budgets)
    for budget in budgets:
        checks, title = budget.evidence["checks"], {"linf": "l_inf: ", "l2": "l2: "}[budget.norm]
        assert checks and all(what.startswith(title) for what in checks), checks
        assert all(what in budget.message for what in checks) and "the 60 s that there were" in budget.message, budget.message


@pytest.mark.parametrize(
    "budget, said", [("soon", "is no time"), (0, "leaves no time"), ("-3s", "leaves no time"), ([], "no time")]
)
def test_budgets_that_are_none(budget, said, slow, data):
    with pytest.raises(EscrimeError, match=said):
        escrime.evaluate(slow, data, FGSM(0.02), budget=budget)


def test_progress_moves_inside_parts_and_during_the_checks(slow, data):
    told = []
    few = data[0][::5], data[1][::5]
    attacks = {"FGSM": FGSM(0.02), "PGD": PGD(0.02, steps=10)}
    escrime.evaluate(slow, few, attacks, checks=QUICK, progress=lambda *now: told.append(now))
    done = np.array([row[0] for row in told])
    assert (np.diff(done) >= 0).all() and all(row[0] <= row[1] for row in told) and told[-1][0] == told[-1][1]
    moves = {note: len({row[0] for row in told if row[2] == note}) for note in ("PGD", "examine")}
    assert min(moves.values()) > 5
    assert list(dict.fromkeys(row[2] for row in told))[1:4] == ["FGSM", "PGD", "examine"]


@pytest.mark.parametrize(("eps", "low", "high"), [(0.5, 20, 2000), (0.005, 2000, 200_000)])
def test_what_the_checks_will_take_follows_from_what_stands(slow, data, eps, low, high):
    """What is told when they begin is of the order of what they take: some times more at most."""
    told, few = [], (data[0][::5], data[1][::5])
    effort = Effort(images=30, steps=50, queries=500, draws=200, eot=1, doublings=1)
    escrime.evaluate(slow, few, PGD(eps, steps=10), checks=effort, progress=lambda *now: told.append(now))
    begun = next(at for at, row in enumerate(told) if row[2] == "examine")
    expected, took = told[begun][1] - told[begun][0], told[-1][0] - told[begun][0]
    assert took / 4 < expected < 8 * took and low < took < high


def test_what_one_attack_left_tells_what_the_next_will_take(slow, data):
    """AutoAttack may take thousands of passes for an image that stands, and a few for one that falls at once."""
    told, few = [], (data[0][::5], data[1][::5])
    attacks = {"FGSM": FGSM(0.5), "AutoAttack": AutoAttack(0.5)}
    result = escrime.evaluate(slow, few, attacks, checks=False, progress=lambda *now: told.append(now))
    assert result.records.query("eps > 0").groupby("attack").correct.mean().max() < 0.05
    begun = next(row for row in told if row[2] == "AutoAttack")
    assert begun[1] - begun[0] < 8 * (told[-1][0] - begun[0])


def test_no_bar_where_nobody_looks(slow, data, capsys):
    few = data[0][::10], data[1][::10]
    escrime.evaluate(slow, few, FGSM(0.02), checks=False)
    escrime.evaluate(slow, few, FGSM(0.02), checks=False, progress=False)
    assert capsys.readouterr() == ("", "")
    escrime.evaluate(slow, few, FGSM(0.02), checks=False, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "Evaluate: done" in err


def test_the_total_gets_better_as_the_work_goes_on():
    told = []
    meter = Meter(lambda *now: told.append(now))
    meter.plan("a", 10, 100)
    meter.begin("a", 5)
    meter(20)
    assert told[-1] == (20, 1000, "a")
    meter.begin("a", 5)
    assert told[-1] == (20, 40, "a"), "the first five took 4 passes each"
    meter(30)
    assert told[-1] == (50, 50, "a")
    meter.finish()
    assert told[-1][:2] == (50, 50)


def test_a_budget_that_ends_in_one_norm_makes_no_other_doubtful(linear, data):
    from escrime.evaluation.budget import budget_findings
    from escrime.evaluation.subjects import as_cases, as_subjects
    from escrime.results.verdicts import verdicts

    attacks = {"PGD": PGD(0.05, steps=5), "PGD-l2": PGD(0.2, steps=5, norm="l2"), "PGD-l1": PGD(0.5, steps=5, norm="l1")}
    data = data[0], linear(data[0]).argmax(1)
    result = escrime.evaluate(
        {"m": linear}, data, attacks, checks=Effort(images=30, steps=20, queries=100, draws=20, doublings=1)
    )
    cases, cut = as_cases(as_subjects({"m": linear})), {("m", "none", "white-box", "l2"): ["the search for a stronger attack"]}
    records = result.records[result.records.attack != "PGD-l1"]
    found = budget_findings(records, cases, attacks, 150, cut, 60.0)
    assert {finding.norm: finding.severity for finding in found} == {"l2": "warning", "l1": "warning"}
    assert "PGD-l1 was run on no image" in next(finding for finding in found if finding.norm == "l1").message
    some = result.records[(result.records.attack != "PGD-l1") | result.records.image.isin(result.records.image.unique()[:40])]
    (note,) = budget_findings(some, cases, attacks, 150, {}, 60.0)
    assert (note.norm, note.severity) == ("l1", "note") and "110 of 150 images" in note.message
    believed = {verdict.norm: verdict.believe for verdict in verdicts(result.records, [*result.checks, *found])}
    assert believed == {"linf": True, "l2": False, "l1": False}
