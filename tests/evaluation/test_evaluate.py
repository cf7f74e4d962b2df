"""evaluate(): verdicts on the original model, threat levels, honest scores of randomized models, one image one answer."""

from functools import partial

import pandas as pd
import pytest
import torch
from torch import nn

import escrime
from escrime import DGSM, FGSM, FMN, PGD, EscrimeError, PredictionAveraging
from escrime.evaluation import Subject
from escrime.evaluation.records import COLUMNS
from escrime.evaluation.statistics import wilson

evaluate = partial(escrime.evaluate, checks=False)  # the checks have tests of their own


def test_records_say_what_the_model_says(linear, data):
    images, labels = data
    records = evaluate({"m": linear}, data, FGSM(0.1), epsilons=[0, 0.02, 0.1]).records
    assert list(records.columns) == list(COLUMNS) and len(records) == 3 * len(images)
    for eps, group in records.groupby("eps"):
        moved = FGSM(eps)(linear, images, labels)
        predicted = linear(moved).argmax(1)
        assert group["prediction"].tolist() == predicted.tolist()
        assert group["correct"].tolist() == (predicted == labels).double().tolist()
        assert (group["distance"] <= eps).all() and group["verified"].all()
    assert (records[records.eps == 0]["correct"] == 1).all()
    assert (records["threat"] == "white-box").all()


def test_summary_has_n_and_wilson_interval(linear, data):
    evaluation = evaluate(linear, data, [FGSM(0.05), DGSM(0.05, target=1)])
    table = evaluation.summary()
    assert set(table["attack"]) == {"FGSM", "DGSM", "worst case"} and (table["n"] == 150).all()
    row = table[table["attack"] == "FGSM"].iloc[0]
    k = evaluation.records.query("attack == 'FGSM'")["correct"].sum()
    assert (row.accuracy, row.low, row.high) == pytest.approx((k / 150, *wilson(k, 150)))


def test_images_of_the_target_class_are_left_and_counted(linear, data):
    records = evaluate(linear, data, DGSM(0.3, target=1)).records
    springers = records[records.label == 1]
    assert len(springers) and (springers["distance"] == 0).all() and (springers["hit"] == 1).all()
    assert (springers["forwards"] == 0).all() and (records[records.label != 1]["hit"].mean()) > 0.9


def test_a_defense_stands_under_both_threat_levels(linear, data):
    records = evaluate({"m": linear, "m+ppa": PredictionAveraging(linear, 0.1, 4)}, data, FGSM(0.1), eot=3).records
    assert set(zip(records.defense, records.threat)) == {
        ("none", "white-box"),
        ("ppa", "transfer"),
        ("ppa", "adaptive"),
    }
    assert set(records.query("defense == 'ppa'")["draws"]) == {8}
    assert set(records.query("defense == 'none'")["draws"]) == {1}
    # network passes: the adaptive attack pays for every copy of every noise draw
    assert records.query("threat == 'adaptive'")["backwards"].unique().tolist() == [12.0]
    assert records.query("threat == 'transfer'")["backwards"].unique().tolist() == [1.0]


def test_transfer_examples_are_those_of_the_undefended_network(linear, data):
    other = nn.Sequential(nn.Flatten(), nn.Linear(48, 4, bias=False))
    with torch.no_grad():
        other[1].weight.copy_(linear.weight + 0.5)
    records = evaluate(Subject("m", other, "retrained", undefended=linear), data, FGSM(0.1)).records
    moved = FGSM(0.1)(linear, *data)
    assert records.query("threat == 'transfer'")["prediction"].tolist() == other(moved).argmax(1).tolist()
    own = FGSM(0.1)(other, *data)
    assert records.query("threat == 'adaptive'")["prediction"].tolist() == other(own).argmax(1).tolist()


class ErrsAtRandom(nn.Module):
    """Knows the class from one pixel, errs 5 % of the time, and does not flag its randomness."""

    copies = 1

    def forward(self, x):
        from escrime.randomness import noise_keys, uniform_noise

        noise = uniform_noise(x[:, :1, :1, :1], 1, noise_keys(len(x))).flatten()
        right = torch.zeros(len(x), 4).index_fill(1, torch.tensor([0]), 1.0)
        return torch.where((noise > 0.9)[:, None], right.roll(1, dims=1), right) + 0 * x.flatten(1)[:, :1]


@pytest.mark.slow
def test_a_classifier_that_errs_five_percent_of_the_time_scores_95(data):
    """A verdict from one noisy forward inside the attack would keep every lucky miss and report less."""
    images = data[0]
    for attack in (FGSM(0.1), DGSM(0.1, target=1, steps=5), PGD(0.1, steps=20)):
        table = evaluate(ErrsAtRandom(), (images, torch.zeros(len(images), dtype=torch.long)), attack, draws=20).summary()
        assert table.accuracy[0] == pytest.approx(0.95, abs=0.012)


def test_one_lucky_draw_does_not_end_an_attack_on_a_randomized_model(data):
    images, labels = data[0][:40], torch.zeros(40, dtype=torch.long)
    records = evaluate(ErrsAtRandom(), (images, labels), PGD(0.1, steps=5), eot=2, draws=2).records
    assert (records["backwards"] == (5 + 1) * 2).all(), "every step and every noise draw is spent"


class ErrsWithTheGlobalGenerator(nn.Module):
    """The same classifier as most people would write it: it knows nothing of escrime's keys."""

    def forward(self, x):
        right = torch.zeros(len(x), 4).index_fill(1, torch.tensor([0]), 1.0)
        return torch.where((torch.rand(len(x)) > 0.95)[:, None], right.roll(1, dims=1), right) + 0 * x.flatten(1)[:, :1]


def test_foreign_randomness_is_fresh_for_the_verdict_reproducible_and_leaves_no_trace(data):
    images, labels = data[0], torch.zeros(len(data[0]), dtype=torch.long)
    state = torch.random.get_rng_state()
    first = evaluate(ErrsWithTheGlobalGenerator(), (images, labels), FGSM(0.1), draws=20)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(7)
    second = evaluate(ErrsWithTheGlobalGenerator(), (images, labels), FGSM(0.1), draws=20)
    assert first.records.equals(second.records)
    assert (first.records["draws"] == 20).all()
    assert first.summary().accuracy[0] == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("part", [1, 7, 64])
def test_one_image_one_answer(linear, data, part, monkeypatch):
    images, labels = data
    ppa = PredictionAveraging(linear, 0.2, 3)
    whole = evaluate({"ppa": ppa}, (images[:20], labels[:20]), [FGSM(0.05), DGSM(0.05, 1)], seed=4).records
    monkeypatch.setattr("escrime.evaluation.images.PART", part)
    again = evaluate({"ppa": ppa}, (images[:20], labels[:20]), [FGSM(0.05), DGSM(0.05, 1)], seed=4).records
    keys = ["threat", "attack", "image"]
    pd.testing.assert_frame_equal(
        whole.sort_values(keys, ignore_index=True), again.sort_values(keys, ignore_index=True), rtol=1e-5
    )


def test_what_breaks_its_budget_is_not_counted(linear, data):
    class Cheat:
        eps, name = 0.01, "cheat"

        def __call__(self, model, images, labels):
            return FGSM(0.5)(model, images, labels)

    records = evaluate(linear, data, Cheat()).records
    assert not records["verified"].any() and (records["correct"] == 1).all() and (records["distance"] == 0).all()


def test_survives_8bit_is_measured_on_the_rounded_image(linear, data):
    images, labels = data
    records = evaluate(linear, data, FGSM(0.02)).records
    moved = FGSM(0.02)(linear, images, labels)
    rounded = linear((moved * 255).round() / 255).argmax(1)
    fooled = linear(moved).argmax(1) != labels
    assert records["survives_8bit"].tolist() == (fooled & (rounded != labels)).tolist()
    assert 0 < records["survives_8bit"].sum()


def test_a_plain_callable_is_an_attack(linear, data):
    def mine(model, images, labels):
        return images

    with pytest.raises(EscrimeError, match="no eps of its own"):
        evaluate(linear, data, mine)
    table = evaluate(linear, data, mine, epsilons=[0.1]).summary()
    assert table.attack.tolist() == ["mine", "worst case"] and table.accuracy.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("models", "attacks", "said"),
    [
        ({}, FGSM(0.1), "dict of name"),
        ({"m": 3}, FGSM(0.1), "'m' is a int"),
        (None, FGSM(0.1), "NoneType"),
        ("linear", [], "attacks must be"),
        ("linear", {"x": 1}, "attacks must be"),
    ],
)
def test_bad_arguments(models, attacks, said, linear, data):
    with pytest.raises(EscrimeError, match=said):
        evaluate(linear if models == "linear" else models, data, attacks)


def test_nan_is_named_and_not_a_verdict(linear, data):
    class BreaksWhenAttacked(nn.Module):
        def forward(self, x):
            moved = (x - data[0][: len(x)]).flatten(1).abs().amax(1) > 0.01
            return torch.where(moved[:, None], float("nan"), 1.0) * linear(x)

    with pytest.raises(EscrimeError, match="NaN or infinite logits for image 0"):
        evaluate(BreaksWhenAttacked(), (data[0][:5], data[1][:5]), FGSM(0.1))


def test_bad_data(linear, data):
    with pytest.raises(EscrimeError, match="divide by 255"):
        evaluate(linear, (data[0] * 255, data[1]), FGSM(0.1))
    with pytest.raises(EscrimeError, match="pair"):
        evaluate(linear, (data[0],), FGSM(0.1))
    with pytest.raises(EscrimeError, match="class 1?[0-9]"):
        evaluate(linear, (data[0], data[1] + 7), FGSM(0.1))


def other_librarys(eps, beyond):
    """As other libraries do it: clamped in float32, so that ε may be passed by a rounding, or by a mistake."""

    def attack(model, images, labels):
        x = images.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(x), labels), x)
        return (images + (eps + beyond) * gradient.sign()).clamp(0, 1)

    return attack


def test_a_rounding_beyond_eps_is_put_back_and_a_mistake_is_not_counted(linear, data):
    own = evaluate(linear, data, FGSM(0.1)).records
    for beyond, verified in ((0.0, True), (1e-7, True), (1e-3, False)):
        records = evaluate(linear, data, {"theirs": other_librarys(0.1, beyond)}, epsilons={"theirs": [0.1]}).records
        assert records["verified"].all() == verified
        assert (records["prediction"].tolist() == own["prediction"].tolist()) == verified


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (lambda model, images, labels: images.double(), "returned torch.float64"),
        (lambda model, images, labels: images[:1], "of shape"),
        (FMN(), "no eps of its own"),
        (PGD([0.1, 0.2]), "one eps per image"),
    ],
)
def test_attacks_that_cannot_be_recorded_are_refused(linear, data, attack, said):
    epsilons = None if isinstance(attack, (FMN, PGD)) else [0.1]
    with pytest.raises(EscrimeError, match=said):
        evaluate(linear, data, {"it": attack}, epsilons=epsilons)
