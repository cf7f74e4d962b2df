"""Universal attacks in an evaluation: every image is judged once, by what was fitted on the other half."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import escrime
from escrime import FGSM, EscrimeError, PredictionAveraging
from escrime.attacks import UniversalPatch, UniversalPGD
from escrime.attacks.core import fitted, universal
from escrime.distributed import Processes
from escrime.evaluation import Effort
from escrime.evaluation import universal as halves
from escrime.evaluation.images import Source
from escrime.evaluation.pipeline import Plan, execute
from escrime.evaluation.profile import ProbeBudget, Profiles
from escrime.evaluation.progress import Meter
from escrime.evaluation.store import MemoryStore
from escrime.evaluation.subjects import as_cases, as_subjects

CPU = torch.device("cpu")
ATTACKS = {"pgd": UniversalPGD(0.1, steps=8, restarts=2), "patch": UniversalPatch(2, steps=8)}
GRIDS = {"pgd": [0.05, 0.1], "patch": [2.0]}


@pytest.fixture
def fits(monkeypatch):
    """Every fit that was made."""
    made, fit = [], universal.Universal.fit
    monkeypatch.setattr(universal.Universal, "fit", lambda *a, **k: made.append(fit(*a, **k)) or made[-1])
    return made


class ByRow(nn.Module):
    """A linear model that computes every row by itself."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return torch.stack([self.weight @ row for row in x.flatten(1).unbind()])


@pytest.fixture
def by_row(linear):
    return ByRow(linear.weight.detach().clone())


def table(records):
    return records.sort_values(["attack", "eps", "image"]).reset_index(drop=True)


def evaluated(model, data, store, attacks=ATTACKS):
    source = Source(data, CPU)
    grids = {name: GRIDS[name] for name in attacks}
    plan = Plan(as_cases(as_subjects(model)), Profiles(source, ProbeBudget(0.1), 0), attacks, grids, 0, 2, 2, None)
    execute(plan, store, Processes(CPU, alone=True), lambda title: nullcontext(Meter(lambda *_: None)))
    return table(store.records())


def test_every_image_is_judged_once_by_what_never_saw_it(linear, data, fits, monkeypatch):
    judged = []
    applied = fitted.Fitted.applied

    def watched(self, inputs, eps):
        judged.append((self, inputs, applied(self, inputs, eps)))
        return judged[-1][2]

    monkeypatch.setattr(fitted.Fitted, "applied", watched)
    found = escrime.evaluate(linear, data, UniversalPGD(0.1, steps=5, restarts=1), checks=False)
    assert len(found.records) == 150 == found.records["image"].nunique() and found.records["verified"].all()
    assert len(fits) == 2 and {len(one.seen) for one in fits} == {75} and not fits[0].seen & fits[1].seen
    assert sum(len(inputs.ids) for _, inputs, _ in judged) == 150
    by_eps = {tuple(one.made[0.1].flatten().tolist()): one.seen for one in fits}
    for own, inputs, _ in judged:
        seen = by_eps[tuple(own.made[0.1].flatten().tolist())]
        assert not any(fitted.digest(image) in seen for image in inputs.images)
    row = found.summary().query("attack == 'UniversalPGD'").iloc[0]
    assert row["n"] == 150 and row["accuracy"] < 1


def test_the_passes_of_fitting_are_shared_among_those_it_judges(linear, data, fits):
    records = evaluated(linear, data, MemoryStore())
    for name, passes in records.groupby("attack"):
        spent = [one for one in fits if one.attack.name == ATTACKS[name].name]
        assert passes["backwards"].sum() == pytest.approx(sum(one.backwards for one in spent))
        assert passes["forwards"].sum() == pytest.approx(sum(one.forwards for one in spent))


def test_the_same_whatever_the_parts_and_batches(by_row, data, monkeypatch):
    whole = evaluated(by_row, data, MemoryStore())
    monkeypatch.setattr("escrime.evaluation.images.PART", 19)
    monkeypatch.setattr("escrime.models.running.network_batch", lambda images: 5)
    assert whole.equals(evaluated(by_row, data, MemoryStore()))


def test_a_continued_evaluation_fits_nothing_again_and_ends_the_same(linear, data, fits):
    store = MemoryStore()
    whole = evaluated(linear, data, store)
    assert len(fits) == 4
    store.forget(store.keys()[0])
    store.forget(store.keys()[-1])
    assert whole.equals(evaluated(linear, data, store)) and len(fits) == 4
    store.forget(store.keys()[1])
    store._perturbations.clear()  # stopped before it was kept
    assert whole.equals(evaluated(linear, data, store)) and len(fits) > 4


def test_what_was_fitted_otherwise_is_fitted_again(linear, data, fits):
    store = MemoryStore()
    evaluated(linear, data, store, {"pgd": ATTACKS["pgd"]})
    for key in store.keys():
        store.forget(key)
    evaluated(linear, data, store, {"pgd": UniversalPGD(0.1, steps=9, restarts=2)})
    assert len(fits) == 4


def test_masks_hold_in_both_halves(linear, data):
    mask = torch.zeros(4, 4)
    mask[:2] = 1
    found = escrime.evaluate(linear, data, list(ATTACKS.values()), mask=mask, checks=False).records
    assert found["verified"].all() and (found["distance"] > 0).all()
    whole = escrime.evaluate(linear, data, list(ATTACKS.values()), checks=False).records
    assert whole["correct"].mean() < found["correct"].mean()


def test_one_image_is_not_enough(linear, data):
    with pytest.raises(EscrimeError, match="one image alone cannot be judged by a universal attack"):
        escrime.evaluate(linear, (data[0][:1], data[1][:1]), UniversalPGD(0.1), checks=False)
    two = escrime.evaluate(linear, (data[0][:2], data[1][:2]), UniversalPGD(0.1, steps=2), checks=False)
    assert len(two.records) == 2


def test_a_target_and_images_that_have_it_already(linear, data):
    found = escrime.evaluate(linear, data, UniversalPGD(0.1, steps=10, target=1), checks=False).records
    own = found["label"] == 1
    assert len(found) == 150 and (found.loc[own, "distance"] == 0).all() and (found.loc[~own, "distance"] > 0).all()
    assert found.loc[~own, "hit"].mean() > 0.3


def test_a_model_that_fails_while_it_is_fitted(linear, data):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.calls = linear, 0

        def forward(self, x):
            if x.requires_grad and len(x) == 30:
                raise ValueError("not today")
            return self.linear(x)

    found = escrime.evaluate(Fails(), data, [UniversalPGD(0.1, batch=30), FGSM(0.1)], checks=False)
    assert [finding.id for finding in found.checks] == ["attack-failed"] and "not today" in str(found.checks[0].evidence)


def test_a_defense_with_noise_under_both_threats(network_of_noise, data, fits):
    found = escrime.evaluate(network_of_noise, data, UniversalPGD(0.1, steps=3, restarts=1), checks=False, eot=2).records
    assert set(found["threat"]) == {"transfer", "adaptive"} and len(found) == 300
    assert [one.attack.eot for one in fits] == [1, 1, 2, 2]


@pytest.fixture
def network_of_noise(linear):
    return PredictionAveraging(linear, 0.1, samples=2)


def test_it_is_compared_with_no_single_step(linear, data):
    """It leaves more right than one step does for each image, which says nothing of its gradients."""
    quick = Effort(images=8, steps=4, queries=10, draws=5, eot=1, doublings=0)
    found = escrime.evaluate(linear, data, [UniversalPGD(0.05), FGSM(0.05)], checks=quick, progress=False)
    left = found.records[found.records["eps"] > 0].groupby("attack")["correct"].mean()
    assert left["UniversalPGD"] > left["FGSM"] + 0.05
    assert not found.alarms


def test_a_fitted_attack_is_evaluated_as_any_other(linear, data):
    images, labels = data
    attack = UniversalPGD(0.1, steps=5).fit(linear, images[:50], labels[:50])
    found = escrime.evaluate(linear, (images[50:], labels[50:]), attack, checks=False).records
    assert len(found) == 100 and set(found["attack"]) == {"UniversalPGD"} and found["verified"].all()
    with pytest.raises(EscrimeError, match=r"UniversalPGD was fitted on image .* \(50 of "):
        escrime.evaluate(linear, data, attack, checks=False)


def test_halves_are_even_over_the_classes(data):
    source = Source(data, CPU)
    first, second = halves.Fits(source, 0, 1, MemoryStore())._halves()
    assert sorted([*first, *second]) == list(range(150))
    a, b = (data[1][list(rows)].bincount(minlength=4) for rows in (first, second))
    assert ((a - b).abs() <= 1).all()


def test_what_fitting_takes_is_known_before_it_begins(linear, data):
    told, attack = [], UniversalPGD(0.1, steps=200, restarts=2, batch=8)
    escrime.evaluate(linear, data, attack, checks=False, progress=lambda *now: told.append(now))
    begun = next(row for row in told if row[2] == "UniversalPGD")
    assert 0.7 < (begun[1] - begun[0]) / (told[-1][0] - begun[0]) < 1.2, "the rest is the look at the model"
