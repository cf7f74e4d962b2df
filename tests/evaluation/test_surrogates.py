"""evaluate(surrogates=...) and Transfer among its attacks: rows of their own, which the model judges, and what is believed."""

from functools import partial

import pandas as pd
import pytest
import torch

import escrime
from escrime import FGSM, PGD, Effort, EscrimeError, PredictionAveraging, RandomPoints, RayS, Spatial, Square, Transfer
from escrime.evaluation import Subject
from escrime.results.checks.records import record_findings

evaluate = partial(escrime.evaluate, checks=False)
LABEL = "MI-DI-TI-FGSM-transfer"


@pytest.fixture
def relative(linear):
    """A network that sees nearly the same."""
    gen = torch.Generator().manual_seed(5)
    other = type(linear)(linear.weight.detach() + 0.3 * torch.randn(4, 48, generator=gen))
    return other


@pytest.fixture
def stranger(linear):
    return type(linear)(torch.randn(4, 48, generator=torch.Generator().manual_seed(9)))


def accuracy(records, **case):
    own = records[(records[list(case)] == pd.Series(case)).all(axis=1)]
    assert len(own), case
    return own["correct"].mean()


def test_surrogate_and_model_alike_give_the_numbers_of_the_model_itself(linear, data, relative, stranger):
    attack = PGD(0.03, early_stop=False)
    found = {
        name: evaluate(linear, data, [attack, Transfer(attack, network)]).records
        for name, network in (("itself", linear), ("relative", relative), ("stranger", stranger))
    }
    made = {name: accuracy(records, attack="PGD-transfer") for name, records in found.items()}
    assert made["itself"] == accuracy(found["itself"], attack="PGD")
    assert made["itself"] < made["relative"] < made["stranger"] - 0.1


def test_what_is_made_on_surrogates_has_rows_of_its_own_that_the_model_judges(linear, data, relative):
    images, labels = data
    result = evaluate({"m": linear}, data, [FGSM(0.05), RandomPoints(0.1, draws=3)], surrogates=[relative])
    records = result.records
    assert set(zip(records.attack, records.threat)) == {
        ("FGSM", "white-box"), ("RandomPoints", "white-box"), (LABEL, "transfer")
    }  # fmt: skip
    own = records[records.attack == LABEL]
    assert sorted(own.eps.unique()) == [0.05, 0.1], "at every ε of the others"
    assert own.verified.all() and (own.correct == (own.prediction == own.label)).all()
    from escrime.attacks.transfer import mi_di_ti_fgsm

    moved = mi_di_ti_fgsm(0.1, side=4, early_stop=False)(relative, images, labels)
    assert own[own.eps == 0.1]["prediction"].tolist() == linear(moved).argmax(1).tolist()
    worst = result.summary().query("attack == 'worst case' and threat == 'white-box' and eps == 0.1").accuracy.item()
    assert worst <= min(accuracy(records, attack=name, eps=0.1) for name in ("RandomPoints", LABEL))


def test_what_is_wrong_already_counts_and_costs_nothing(linear, data, stranger):
    images, labels = data
    wrong = labels.clone()
    wrong[:40] = (labels[:40] + 1) % 4
    own = evaluate(linear, (images, wrong), Transfer(PGD(0.05, steps=3), stranger)).records
    first = own.head(40)
    assert (first["correct"] == 0).all() and (first["backwards"] == 0).all() and (first["distance"] == 0).all()
    assert (own.tail(110)["backwards"] > 0).all() and len(own) == 150


def test_a_black_box_beside_square_and_its_queries(linear, data, relative):
    def scores(x):
        with torch.no_grad():
            return linear(x)

    result = evaluate(scores, data, [Square(0.05, queries=30)], surrogates=relative)
    assert set(zip(result.records.attack, result.records.threat)) == {("Square", "black-box"), (LABEL, "transfer")}
    (verdict,) = result.verdicts
    assert verdict.threat == "black-box" and "outputs only, and has surrogates," in verdict.sentence
    together = [accuracy(result.records, attack=name) for name in ("Square", LABEL)]
    assert verdict.accuracy <= min(together)
    asked = result.records[result.records.attack == "Square"].groupby("image").forwards.sum()
    standing = set(result.records.groupby("image").correct.min().loc[lambda c: c == 1].index)
    expected = f"{asked[asked.index.isin(standing)].median():,.0f} queries"
    assert expected in verdict.sentence or not standing, "passes of the surrogate are no queries"


@pytest.mark.parametrize("black_box", [False, True])
def test_a_verdict_that_rests_on_surrogates_alone_says_so_and_is_not_believed(linear, data, relative, black_box):
    model = (lambda x: linear(x).detach()) if black_box else linear
    attacks = Transfer(PGD(0.02, steps=3), relative)
    result = escrime.evaluate(model, data, attacks, checks=Effort(images=8, steps=3, queries=20, draws=5, eot=1, doublings=0))
    (verdict,) = result.verdicts
    assert "all examples were made on surrogates" in verdict.sentence and not verdict.believe
    assert verdict.reason[:1] not in " ;," and "surrogates" not in verdict.reason.partition(":")[0]
    (finding,) = [f for f in result.checks if f.id == "only-transfer"]
    assert finding.severity == "warning" and "PGD-transfer" in finding.message and "model itself" in finding.message


def test_with_an_attack_of_its_own_the_checks_have_nothing_to_say_of_it(linear, data, relative):
    result = escrime.evaluate(linear, data, PGD(0.02), surrogates=relative, checks=Effort(8, 3, 20, 5, 1, 0))
    found = {finding.id: finding for finding in result.checks}
    assert found["only-transfer"].severity == found["surrogates-stronger"].severity == "passed"
    (verdict,) = result.verdicts
    assert verdict.threat == "white-box" and "surrogates" not in verdict.sentence
    assert not any(finding.threat == "transfer" and finding.severity == "warning" for finding in result.checks)


def test_gradients_that_do_worse_than_surrogates_are_told_of(linear, data, relative):
    """The records of an attack that went nowhere, beside those of surrogates."""
    records = evaluate(linear, data, [PGD(0.05)], surrogates=relative).records
    lost = records.attack == "PGD"
    records.loc[lost, ["correct", "preliminary"]] = 1.0
    found = {f.id: f for f in record_findings(records, manners={"PGD": "iterated", LABEL: "iterated"})}
    assert found["surrogates-stronger"].severity == "warning" and "mislead" in found["surrogates-stronger"].message


def test_a_defense_is_shown_it_once_under_transfer(linear, data, relative):
    models = {"m": linear, "m+ppa": PredictionAveraging(linear, 0.1, 2)}
    records = evaluate(models, data, [FGSM(0.05), Transfer(FGSM(0.05), relative)], draws=2, eot=2).records
    seen = records[records.attack == "FGSM-transfer"]
    assert set(zip(seen.defense, seen.threat)) == {("none", "transfer"), ("ppa", "transfer")} and len(seen) == 300
    subject = Subject("m", linear, "retrained", undefended=relative)
    assert set(evaluate(subject, data, Transfer(FGSM(0.05), relative)).records.threat) == {"transfer"}


def test_it_does_not_depend_on_the_size_of_the_parts(linear, data, relative, monkeypatch):
    whole = evaluate(linear, data, PGD(0.03), surrogates=[relative, linear]).records
    monkeypatch.setattr("escrime.evaluation.images.PART", 16)
    parts = evaluate(linear, data, PGD(0.03), surrogates=[relative, linear]).records
    tables = [rows.drop(columns="forwards").sort_values(["attack", "image"], ignore_index=True) for rows in (whole, parts)]
    pd.testing.assert_frame_equal(
        *tables, check_exact=False, atol=1e-6
    )  # how often a copy is compared is no one image's affair


def test_several_norms_have_one_each(linear, data, relative):
    attacks = [PGD(0.05, steps=2), PGD(0.3, steps=2, norm="l2"), Spatial(0.5, angles=3, shifts=1, between=0)]
    records = evaluate(linear, data, attacks, surrogates=relative).records
    made = records[records.threat == "transfer"]
    assert set(zip(made.attack, made.norm, made.eps)) == {
        ("MI-DI-TI-FGSM-transfer", "linf", 0.05), ("MI-DI-TI-FGSM-transfer-l2", "l2", 0.3)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "surrogates", "words"),
    [
        (Spatial(0.5, angles=3, shifts=1, between=0), "relative", "no attack at ε > 0 in a norm"),
        (FGSM(0.05), lambda x: x, "gives no gradients"),
        (FGSM(0.05), [], "no surrogate"),
        (FGSM(0.05), "other classes", "7 classes and the model has 4"),
    ],
)
def test_what_cannot_be_is_refused(linear, data, relative, attack, surrogates, words):
    known = {"relative": relative, "other classes": type(linear)(torch.randn(7, 48))}
    given = known[surrogates] if isinstance(surrogates, str) else surrogates
    with pytest.raises(EscrimeError, match=words):
        evaluate(linear, data, attack, surrogates=given)


def test_budgets_name_what_is_open_by_who_it_is_open_for(linear, data, relative, monkeypatch):
    from escrime.evaluation.budget import budget_findings
    from escrime.evaluation.subjects import as_cases, as_subjects

    attacks = {"RayS": RayS(0.05, queries=20), "PGD-transfer": Transfer(PGD(0.05, steps=2), relative)}
    records = evaluate({"m": linear}, data, attacks).records
    cases = as_cases(as_subjects({"m": linear}))
    assert budget_findings(records, cases, attacks, 150, {}, 60.0) == []
    (finding,) = budget_findings(records[records.attack == "RayS"], cases, attacks, 150, {}, 60.0)
    assert finding.threat == "transfer" and "PGD-transfer was run on no image" in finding.message
