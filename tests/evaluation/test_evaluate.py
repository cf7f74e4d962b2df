"""evaluate(): verdicts on the original model, threat levels, honest scores of randomized models, one image one answer."""

import random
from dataclasses import replace
from functools import partial

import numpy
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import escrime
from escrime import DGSM, FGSM, FMN, PGD, AutoAttack, DeepFool, EscrimeError, MajorityVote, PredictionAveraging, WorstCase
from escrime.attacks.transfer import for_transfer
from escrime.evaluation import Subject
from escrime.norms import NORMS
from escrime.randomness import noise_keys, uniform_noise
from escrime.results.crossings import crossings
from escrime.results.records import COLUMNS, worst_case
from escrime.results.statistics import wilson

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


class Moved(nn.Module):
    """The linear network with other weights."""

    def __init__(self, linear):
        super().__init__()
        noise = torch.randn(linear.weight.shape, generator=torch.Generator().manual_seed(7))
        self.register_buffer("weight", linear.weight.detach() + 0.7 * noise)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


class ErrsAtRandom(nn.Module):
    """Knows the class from one pixel, errs 5 % of the time, and does not flag its randomness."""

    copies = 1

    def forward(self, x):
        from escrime.randomness import noise_keys, uniform_noise

        noise = uniform_noise(x[:, :1, :1, :1], 1, noise_keys(x)).flatten()
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
    class Looks(ErrsAtRandom):  # what ignores its input would not be attacked
        def forward(self, x):
            return super().forward(x) + 1e-3 * x.flatten(1)[:, :1]

    images, labels = data[0][:12], torch.zeros(12, dtype=torch.long)
    records = evaluate(Looks(), (images, labels), PGD(0.1, steps=5), eot=2, draws=2, checks=False).records
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
    rounded = linear(NORMS["linf"].to_8_bits(moved, images, 0.02)).argmax(1)
    fooled = linear(moved).argmax(1) != labels
    assert records["survives_8bit"].tolist() == (fooled & (rounded != labels)).tolist()
    assert 0 < records["survives_8bit"].sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_is_saved_stays_within_eps(linear, data, norm):
    """At ε = 0.003 no other 8-bit image lies within ε: what is saved is the clean image, which is right."""
    images = (data[0] * 255).round() / 255
    labels = linear(images).argmax(1)
    records = evaluate(linear, (images, labels), FGSM(0.003, norm=norm)).records
    moved = FGSM(0.003, norm=norm)(linear, images, labels)
    assert (records["correct"] == 0).any() or (linear(moved).argmax(1) == labels).all()
    assert not records["survives_8bit"].any()


class Lucky(nn.Module):
    """Ignores its input and errs 18 times in 100, by noise that belongs to the image."""

    def forward(self, x):
        chance = uniform_noise(x[:, :1, :1, :1], 1, noise_keys(len(x))).flatten() * 0.5 + 0.5
        logits = torch.zeros(len(x), 4)
        logits[:, 0] = 1
        logits[chance < 0.18, 1] = 2
        return logits


def test_what_ignores_its_input_is_told_the_same_under_every_attack(data):
    """One set of draws for all: the worst of many attacks is none of luck, and no attack lies below it."""
    labels = torch.zeros(150, dtype=torch.long)
    attacks = [FGSM(0.1), PGD(0.1, steps=2), PGD(0.1, steps=3)]
    found = evaluate(Lucky(), (data[0], labels), attacks, epsilons=[0.02, 0.05, 0.1])
    table = found.summary()
    assert table["accuracy"].nunique() == 1 and table["accuracy"][0] == pytest.approx(0.82, abs=0.035)
    assert crossings(found.records, worst_case(found.records)) == []


def test_no_attack_is_run_on_what_ignores_its_input(data, monkeypatch):
    """Records are complete, images stay, and AutoAttack's thousands of noise draws are not spent."""
    passes, ask = [], Lucky.forward
    monkeypatch.setattr(Lucky, "forward", lambda self, x: passes.append(len(x)) or ask(self, x))
    found = evaluate(Lucky(), (data[0], torch.zeros(150, dtype=torch.long)), [AutoAttack(0.1), PGD(0.1)], checks=False)
    rows = found.records
    assert len(rows) == 300 and rows["verified"].all() and (rows[["distance", "forwards", "backwards"]] == 0).all(axis=None)
    assert sum(passes) / 150 < 100


def test_a_plain_callable_is_an_attack(linear, data):
    def mine(model, images, labels):
        return images

    with pytest.raises(EscrimeError, match="no eps of its own"):
        evaluate(linear, data, mine)
    table = evaluate(linear, data, mine, epsilons=[0.1]).summary()
    assert table.attack.tolist() == ["mine", "worst case"] and table.accuracy.tolist() == [1.0, 1.0]


def test_a_callable_gets_the_model_as_it_is_judged_and_leaves_no_trace(data):
    images, labels = data
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []

    def mine(network, x, y):
        seen.append(network.training)
        loss = nn.functional.cross_entropy(network(x.requires_grad_()), y)
        loss.backward()
        torch.rand(3)
        return (x + 0.1 * x.grad.sign()).clamp(0, 1)

    state = torch.get_rng_state()
    evaluate(model, data, mine, epsilons=[0.1])
    assert not any(seen) and model.training and model[1].training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_callable_may_work_in_place(linear, data):
    def theirs(model, images, labels):
        labels[:] = 0
        return images.copy_(other_librarys(0.1, 0.0)(model, images, linear(images).argmax(1)))

    images, labels = (part.clone() for part in data)
    records = evaluate(linear, (images, labels), theirs, epsilons=[0.1]).records
    own = evaluate(linear, data, FGSM(0.1)).records
    assert records["verified"].all() and records["prediction"].tolist() == own["prediction"].tolist()
    assert torch.equal(images, data[0]) and torch.equal(labels, data[1])


@pytest.mark.parametrize(("spelled", "norm"), [("Linf", "linf"), ("L2", "l2"), ("l2", "l2")])
def test_the_norm_of_a_callable_as_others_spell_it(linear, data, spelled, norm):
    def theirs(model, images, labels):
        return FGSM(0.1, norm=norm)(model, images, labels)

    theirs.norm = spelled
    records = evaluate(linear, data, theirs, epsilons=[0.1]).records
    assert set(records["norm"]) == {norm} and records["verified"].all() and records["correct"].mean() < 1
    assert (records["distance"] <= 0.1).all()


def test_an_epsilon_that_is_given_twice_counts_once(linear, data):
    own = evaluate(linear, data, FGSM(0.1)).summary()
    for epsilons in (
        [0.1, "1/10"],
        [0.1, 0.1 + 1e-12],
        0.1,
        "1/10",
        (eps for eps in (0.1, 0.1)),
        {"FGSM": "1/10"},
        torch.tensor(0.1).double(),
    ):
        pd.testing.assert_frame_equal(evaluate(linear, data, FGSM(0.1), epsilons=epsilons).summary(), own)
    both = evaluate(linear, data, [FGSM(0.1), PGD(0.1, steps=2)], epsilons=(eps for eps in (0.2, 0.1, 0.2))).records
    assert both.groupby(["attack", "eps"]).size().tolist() == 4 * [150]


def test_what_a_callable_draws_is_fixed_by_the_seed_and_differs_between_slices(linear):
    """torchattacks' random starts, for one, come from torch's global generator."""
    images, labels = torch.full((130, 3, 4, 4), 0.5), torch.zeros(130, dtype=torch.long)
    drawn = []

    def noisy(model, images, labels):
        drawn.append((torch.rand(2).tolist(), numpy.random.rand(), random.random()))
        return (images + 0.1 * torch.rand_like(images)).clamp(0, 1)

    for seed, state in ((0, 1), (0, 2), (1, 2)):
        torch.manual_seed(state)
        evaluate(linear, (images, labels), noisy, epsilons=0.1, seed=seed, checks=False)
    first, second, third = drawn[:3], drawn[3:6], drawn[6:]
    assert first == second and len({str(part) for part in first + third}) == 6
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), random.getstate()
    evaluate(lambda x: linear(x), (images, labels), noisy, epsilons=0.1, checks=False)
    assert torch.equal(before[0], torch.get_rng_state()), "also where the model is no module"
    assert before[1:] == (numpy.random.get_state()[1].tolist(), random.getstate())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(data=TensorDataset(torch.zeros(2, 3, 4, 4))), "a row of data is a tuple of 1; rows are"),
        (dict(data=torch.zeros(2, 3, 4, 4)), "data is a Tensor; give an ImageSet, a pair"),
        (dict(data=(torch.zeros(2, 3, 4, 4), None)), "labels are a NoneType"),
        (dict(attacks=lambda model, images, labels: None, epsilons=0.1), "the attack returned a NoneType"),
        (dict(attacks=FGSM), "'FGSM' is a class; make an attack of it, such as FGSM"),
        (dict(train=torch.zeros(2, 3, 4, 4)), "data is a Tensor; give an ImageSet, a pair"),
        (dict(device="gpu"), "device 'gpu' cannot be used here"),
        (dict(models=nn.Sequential(nn.Flatten(), nn.Linear(47, 3).double())), "the model fails on float32 images of 3 × 4 × 4"),
    ],
)
def test_input_outside_the_contract_is_one_sentence(linear, data, arguments, said, monkeypatch):
    if "train" in arguments:
        monkeypatch.setattr("escrime.evaluation.pipeline.evaluate_parts", None)  # refused before anything is run
    with pytest.raises(EscrimeError, match=said):
        evaluate(**({"models": linear, "data": data, "attacks": FGSM(0.1)} | arguments))


def test_labels_of_attacks_may_be_numbers_and_images_may_have_gradients(linear, data):
    images, labels = data[0][:10].clone().requires_grad_(), data[1][:10]
    found = evaluate(linear, (images, labels), {0.1: FGSM(0.1), 0.2: FGSM(0.2)}, epsilons={0.1: 0.05, 0.2: 0.2})
    assert set(found.records["attack"]) >= {"0.1", "0.2"} and found.summary()["n"].eq(10).all()
    with pytest.raises(EscrimeError, match="confidence = 95 is no share"):
        found.summary(confidence=95)


@pytest.mark.parametrize(
    ("epsilons", "said"),
    [([], "are an empty list"), ({"FGSM": []}, "'FGSM' are an empty list"), ({"FSGM": [0.1]}, "Did you mean 'FGSM'")],
)
def test_epsilons_that_say_nothing_are_refused(linear, data, epsilons, said):
    with pytest.raises(EscrimeError, match=said):
        evaluate(linear, data, FGSM(0.1), epsilons=epsilons)


def test_transfer_examples_do_not_stop_at_the_boundary_of_the_network_they_are_made_on(linear, data):
    other, data = Moved(linear), (data[0][:50], data[1][:50])
    subjects = [Subject("m", linear), Subject("m", other, "retrained", undefended=linear)]
    hurried = PGD(0.1, steps=10, restarts=2)
    for attack in (hurried, WorstCase(hurried), AutoAttack(0.1, steps=5, queries=20)):
        records = evaluate(subjects, data, {"it": attack}).records
        plain = getattr(attack, "attack", attack)
        whole = {"give_up": None, "queries": 0} if isinstance(plain, AutoAttack) else {}
        moved = replace(plain, early_stop=False, **whole)(linear, *data)
        clean = other(data[0]).argmax(1)
        expected = torch.where(clean == data[1], other(moved).argmax(1), clean)
        assert records.query("threat == 'transfer'")["prediction"].tolist() == expected.tolist()
        alone = evaluate({"m": linear}, data, {"it": attack}).records
        assert records.query("threat == 'white-box'").reset_index(drop=True).equals(alone), "what is beside it changes nothing"


def test_a_transfer_costs_nothing_on_what_the_defense_gets_wrong_already(linear, data):
    """Nor on what no search by scores could take: of AutoAttack under transfer the gradient attacks are left."""
    images, labels = data[0][:30], data[1][:30].clone()
    labels[:10] = (labels[:10] + 1) % 3  # wrong from the start
    subjects = [Subject("m", Moved(linear), "retrained", undefended=linear)]
    for attack in (PGD(0.02, steps=10), AutoAttack(0.02, steps=5, queries=200)):
        rows = evaluate(subjects, (images, labels), attack, checks=False).records.query("threat == 'transfer'")
        spent = (rows["forwards"] + rows["backwards"]).to_numpy()
        wrong = (rows["clean_prediction"] != rows["label"]).to_numpy()
        assert wrong[:10].all() and not wrong.all()
        assert (spent[wrong] == 0).all() and (spent[~wrong] >= 10).all() and (spent < 200).all()
        assert (rows["correct"][wrong] == 0).all() and (rows["distance"][wrong] == 0).all() and rows["verified"].all()


def test_what_a_transfer_is_aimed_at_is_not_reached_by_being_wrong(linear, data):
    images, labels = data[0][:20], (data[1][:20] + 1) % 3
    subjects = [Subject("m", Moved(linear), "retrained", undefended=linear)]
    rows = evaluate(subjects, (images, labels), PGD(0.1, steps=5, target=0), checks=False).records
    rows = rows.query("threat == 'transfer' and label != 0")
    assert len(rows) and ((rows["forwards"] + rows["backwards"]) > 0).all()


@pytest.mark.parametrize(
    "attack", [FGSM(0.1), DGSM(0.1, target=1, steps=3), FMN(0.1, steps=5, stop_within=True), DeepFool(0.5)]
)
def test_attacks_that_have_no_more_to_spend_share_their_transfer_examples(linear, data, attack):
    assert for_transfer(attack) is attack
    records = evaluate(
        [Subject("m", linear), Subject("m", Moved(linear), "retrained", undefended=linear)], data, attack
    ).records
    ours, theirs = (records.query("threat == @threat").reset_index() for threat in ("white-box", "transfer"))
    for column in ("distance", "forwards", "backwards"):
        assert ours[column].equals(theirs[column])


def test_a_layer_may_be_called_as_the_attributes_of_a_defense_are(linear, data):
    class Named(nn.Module):
        def __init__(self, defense):
            super().__init__()
            self.defense, self.undefended = defense, nn.Identity()

        def forward(self, x):
            return linear(self.undefended(x))

    own = evaluate(linear, data, FGSM(0.1)).records
    for defense in (nn.Identity(), None):
        assert evaluate(Named(defense), data, FGSM(0.1)).records.equals(own)


def test_within_inference_mode_attacks_attack(linear, data):
    attacks, epsilons = {"PGD": PGD(0.1, steps=5), "theirs": other_librarys(0.1, 0.0)}, {"theirs": [0.1]}
    outside = evaluate(linear, data, attacks, epsilons=epsilons).records
    with torch.inference_mode():
        images, labels = (part.clone() for part in data)
        within = evaluate(linear, (images, labels), attacks, epsilons=epsilons).records
        assert torch.is_inference_mode_enabled()
    assert within.equals(outside) and evaluate(linear, (images, labels), attacks, epsilons=epsilons).records.equals(outside)


def test_a_plain_callable_may_write_into_its_input(linear, data):
    def writes(x):
        return linear(x.sub_(0.01))

    records = evaluate(writes, data, FGSM(0.1)).records
    assert set(records["threat"]) == {"white-box"} and records["backwards"].sum() > 0


@pytest.mark.parametrize("label", ["stronger PGD", "worst case", "worst case of two"])
def test_names_of_the_rows_that_escrime_adds_are_taken(linear, data, label):
    with pytest.raises(EscrimeError, match=f"attack {label!r} begins with"):
        evaluate(linear, data, {label: FGSM(0.1)})


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


class BreaksWhenAttacked(nn.Module):
    """NaN, or an exception, at a distance from the images."""

    def __init__(self, network, images, value):
        super().__init__()
        self.network, self.images, self.value = network, images, value

    def forward(self, x):
        near = torch.cdist(x.detach().flatten(1), self.images.flatten(1), p=float("inf")).amin(1) < 0.07
        if self.value is None and not near.all():
            raise RuntimeError("no such image")
        return torch.where(near[:, None], 0.0, self.value or 0.0) + self.network(x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_named_and_not_a_verdict(linear, data, value):
    images, labels = data[0][:5], data[1][:5]
    model = BreaksWhenAttacked(linear, images, value)
    result = evaluate(model, (images, labels), {"near": FGSM(0.05), "far": FGSM(0.1)})
    near, far = (result.records[result.records["attack"] == name] for name in ("near", "far"))
    assert (near["prediction"] >= 0).all() and (far["prediction"] == -1).all() and (far["correct"] == 0).all()
    (finding,) = result.alarms
    assert finding.id == "non-finite" and finding.evidence["far"] == 5 and "near" not in finding.evidence
    assert not result.verdicts[0].believe and "non-finite" in result.verdicts[0].sentence


@pytest.mark.parametrize(("value", "reason"), [(None, "RuntimeError: no such image"), (float("nan"), "NaN or infinite")])
def test_an_attack_that_raises_is_a_finding_and_the_others_count(linear, data, value, reason):
    images, labels = data[0][:40], data[1][:40]
    model, attacks = BreaksWhenAttacked(linear, images, value), {"near": FGSM(0.05), "far": PGD(0.1, steps=5)}
    result = evaluate(model, (images, labels), attacks)
    plain = evaluate(linear, (images, labels), attacks).records
    near, far = (result.records[result.records["attack"] == name] for name in attacks)
    assert near["prediction"].tolist() == plain[plain["attack"] == "near"]["prediction"].tolist()
    assert not far["verified"].any() and (far["prediction"] == far["clean_prediction"]).all() and far["distance"].isna().all()
    (finding,) = [finding for finding in result.checks if finding.id == "attack-failed"]
    assert finding.severity == "warning" and "far on 40 images" in finding.message and reason in finding.message
    verdict = result.verdicts[0]
    assert not verdict.believe and verdict.accuracy <= near["correct"].mean()
    with pytest.raises((RuntimeError, EscrimeError), match=reason.partition(": ")[2] or reason):
        attacks["far"](model, images, labels)


def test_a_user_attack_that_raises_leaves_the_others(linear, data):
    def broken(model, images, labels):
        raise KeyError("weights")

    broken.eps = 0.1
    result = evaluate(linear, data, {"mine": broken, "FGSM": FGSM(0.1)})
    assert "KeyError" in next(f.message for f in result.checks if f.id == "attack-failed")
    assert len(result.records["attack"].unique()) == 2


class Typed(nn.Module):
    """The network's logits in another type, or with a class that is impossible."""

    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x):
        return self.change(self.network(x))


def without_last(logits):
    return logits.masked_fill(torch.arange(logits.shape[1]) == logits.shape[1] - 1, float("-inf"))


TYPES = {"float64": lambda z: z.double(), "float16": lambda z: z.half(), "bfloat16": lambda z: z.bfloat16()}
TYPES |= {"integers": lambda z: (100 * z).round().long(), "an impossible class": without_last}


@pytest.mark.parametrize("change", TYPES.values(), ids=TYPES)
def test_logits_of_any_type_are_evaluated(linear, data, change):
    images, labels = data[0][:30], data[1][:30]
    model = Typed(linear, change)
    attacks = [FGSM(0.05), PGD(0.05, steps=5), AutoAttack(0.05, steps=5, queries=20), DeepFool(0.05)]
    records = evaluate(model, (images, labels), attacks).records
    assert (records["prediction"] >= 0).all() and records["verified"].all()
    clean = model(images).float().argmax(1)
    assert records[records["attack"] == "FGSM"]["clean_prediction"].tolist() == clean.tolist()
    for defense in (PredictionAveraging(model, 0.02, 4), MajorityVote(model, 0.02, 4)):
        gone = PGD(0.05, steps=3, eot=2)(defense, images, labels)
        assert gone.isfinite().all() and (change is TYPES["integers"] or not torch.equal(gone, images))


@pytest.mark.parametrize("seed", [10**23, -1, 0.5, True])
def test_a_seed_that_records_cannot_hold(linear, data, seed):
    with pytest.raises(EscrimeError, match=f"seed = {seed} is not a whole number from 0"):
        evaluate(linear, data, FGSM(0.1), seed=seed)


@pytest.mark.parametrize("name", ["draws", "eot"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_no_draw_is_no_score(linear, data, name, value):
    with pytest.raises(EscrimeError, match=f"{name} = {value} is no number of noise draws"):
        evaluate(PredictionAveraging(linear, 0.1, 2), data, FGSM(0.1), **{name: value})


def test_bad_data(linear, data):
    with pytest.raises(EscrimeError, match="data holds no image"):
        evaluate(linear, (data[0][:0], data[1][:0]), FGSM(0.1))
    for attack in (lambda model, images, labels: images, FGSM(0.1)):
        with pytest.raises(EscrimeError, match="class [4-7], but the model has 4 classes"):
            evaluate(linear, (data[0], data[1] + 4), {"it": attack}, epsilons=[0.1])
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


def called_norm(norm):
    def attack(model, images, labels):
        return images

    attack.norm = norm
    return attack


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (lambda model, images, labels: images.double(), "returned torch.float64"),
        (lambda model, images, labels: images[:1], "of shape"),
        (called_norm("linfinity"), "norm 'linfinity' is unknown.*Did you mean 'linf'"),
        (called_norm(2), "norm '2' is unknown"),
        (FMN(), "no eps of its own"),
        (PGD([0.1, 0.2]), "one eps per image"),
    ],
)
def test_attacks_that_cannot_be_recorded_are_refused(linear, data, attack, said):
    epsilons = None if isinstance(attack, (FMN, PGD)) else [0.1]
    with pytest.raises(EscrimeError, match=said):
        evaluate(linear, data, {"it": attack}, epsilons=epsilons)


def test_how_a_model_is_fed_is_checked_once_for_all_norms(linear, data, monkeypatch):
    from escrime.evaluation import looks

    asked, own = [], looks.input_findings
    monkeypatch.setattr(looks, "input_findings", lambda *about, **more: asked.append(1) or own(*about, **more))
    attacks = {name: PGD(eps, steps=2, norm=name) for name, eps in (("linf", 0.02), ("l2", 0.1), ("l1", 0.5))}
    quick = escrime.Effort(images=8, steps=2, queries=5, draws=5, doublings=0)
    result = evaluate(linear, (data[0][:30], data[1][:30]), attacks, checks=quick)
    assert len(asked) == 1 and {verdict.norm for verdict in result.verdicts} == {"linf", "l2", "l1"}
    assert "near-chance" in {finding.id for finding in result.checks}
