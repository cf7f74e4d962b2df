"""evaluate(deployed=...): what fools a model, shown to the one that is deployed in its place, image by image."""

from functools import partial

import pytest
import torch

import escrime
from escrime import FGSM, PGD, EscrimeError, PredictionAveraging, Square, Transfer
from escrime.evaluation import evaluation, pipeline
from escrime.evaluation.store import MemoryStore
from escrime.models.deadline import OutOfTime
from escrime.results.deployment import CLEAN, deployment
from escrime.results.statistics import mcnemar

evaluate = partial(escrime.evaluate, checks=False)


@pytest.fixture
def other(linear):
    """Another network, right about most of the images."""
    gen = torch.Generator().manual_seed(5)
    return type(linear)(linear.weight.detach() + 0.5 * torch.randn(4, 48, generator=gen))


def test_the_same_network_again_is_fooled_by_the_same_images(linear, data):
    table = evaluate({"m": linear}, data, [FGSM(0.02), PGD(0.05)], epsilons=[0.02, 0.05], deployed=linear).deployment
    assert list(table.attack) == [CLEAN, "FGSM", "FGSM", "PGD", "PGD", "worst case", "worst case"]
    assert (table[["only_model_wrong", "only_deployed_wrong", "differ"]] == 0).all(axis=None) and (table.p == 1).all()
    assert (table.both_right + table.both_wrong == 150).all() and table.both_wrong.iloc[1] > 0 and table.both_right.iloc[1] > 0


def test_another_network_in_its_place_is_fooled_by_others_and_both_are_right_about_the_same_examples(linear, data, other):
    images, labels = data
    result = evaluate({"m": linear}, data, PGD(0.02), deployed=other)
    clean, row = deployment(result.records, result.deployed)
    moved = PGD(0.02)(linear, images, labels)
    first, second = (network(moved).argmax(1) == labels for network in (linear, other))
    counts = [int((a & b).sum()) for a, b in ((first, second), (~first, second), (first, ~second), (~first, ~second))]
    assert [row.both_right, row.only_model_wrong, row.only_deployed_wrong, row.both_wrong] == counts
    assert row.only_model_wrong > 0 and row.both_wrong > 0
    assert row.p == mcnemar(second.double().numpy(), first.double().numpy()) and row.n == 150
    differ = int((linear(images).argmax(1) != other(images).argmax(1)).sum())
    assert clean.differ == differ == clean.only_deployed_wrong > 0 and clean.name == "clean images"
    assert f"another class for {differ} of 150 clean images" in clean.sentence
    assert clean.sentence in " ".join(repr(result).split()) and row.sentence in " ".join(repr(result).split())


def test_the_records_checks_and_verdicts_are_those_of_the_model_alone(linear, data, other):
    plain, beside = (evaluate({"m": linear}, data, PGD(0.02), **more) for more in ({}, {"deployed": other}))
    assert plain.records.equals(beside.records) and plain.deployed is None and plain.deployment.empty
    assert [verdict.sentence for verdict in plain.verdicts] == [verdict.sentence for verdict in beside.verdicts]
    assert set(beside.deployed.threat) == {"deployed"} and list(beside.deployed.columns) == list(beside.records.columns)


def test_a_deployed_black_box_needs_no_gradients_and_sees_surrogates_too(linear, data, other):
    asked = []

    def box(x):
        asked.append(len(x))
        with torch.inference_mode():
            return (linear(x) * 8).round() / 8

    result = evaluate({"m": linear}, data, [FGSM(0.02), Transfer(PGD(0.05, steps=3), other)], deployed=box)
    assert {row.attack for row in deployment(result.records, result.deployed)} == {
        *(CLEAN, "FGSM", "PGD-transfer", "worst case")
    }
    transfer = result.deployed[result.deployed.attack == "PGD-transfer"]
    assert len(transfer) == 150 and sum(asked) < 150 * 60, "it is asked to judge, not to be attacked"


def test_a_black_box_model_may_be_deployed_otherwise_too(linear, data, other):
    result = evaluate(lambda x: linear(x).detach(), data, Square(0.05, queries=20), deployed=other)
    assert set(result.records.threat) == {"black-box"} and len(result.deployment) == 2


def test_averages_over_noise_are_compared_by_sign_flips(linear, data):
    noisy = PredictionAveraging(linear, 0.3, 1)
    row = deployment(*(lambda r: (r.records, r.deployed))(evaluate({"m": linear}, data, PGD(0.02), deployed=noisy, draws=4)))[1]
    assert sum((row.both_right, row.only_model_wrong, row.only_deployed_wrong, row.both_wrong)) == row.n == 150
    assert 0 <= row.p <= 1 and row.deployed not in (0, 1)


@pytest.mark.parametrize(
    ("models", "deployed", "words"),
    [
        ("two", "other", "stands for one model without a defense"),
        ("defended", "other", "stands for one model without a defense"),
        ("one", "a file", "give the classifier that is deployed"),
        ("one", "seven", "the deployed model has 7 classes and the model has 4"),
    ],
)
def test_what_cannot_be_deployed_in_its_place_is_refused(linear, data, other, models, deployed, words):
    given = {"two": {"a": linear, "b": other}, "defended": PredictionAveraging(linear, 0.1, 2), "one": linear}[models]
    shown = {"other": other, "a file": "model.onnx", "seven": type(linear)(torch.randn(7, 48))}[deployed]
    with pytest.raises(EscrimeError, match=words):
        evaluate(given, data, FGSM(0.05), deployed=shown)


def test_the_examples_are_made_once_for_both(linear, data, other):
    class Counted(type(linear)):
        asked = 0

        def forward(self, x):
            Counted.asked += len(x)
            return super().forward(x)

    counts = []
    for more in ({}, {"deployed": other}):
        Counted.asked = 0
        evaluate(Counted(linear.weight.detach()), data, PGD(0.02), **more)
        counts.append(Counted.asked)
    assert counts[0] == counts[1] > 1000


def test_rows_without_a_shared_image_are_left_out(linear, data, other):
    result = evaluate({"m": linear}, data, PGD(0.02), deployed=other)
    strangers = result.deployed.assign(image=result.deployed["image"].astype(str) + "-x")
    assert deployment(result.records, strangers) == [] and deployment(result.records, strangers.head(0)) == []


class Limited(torch.nn.Module):
    """What is deployed, when it is shown another image than the clean ones: raises, or gives no numbers."""

    def __init__(self, network, images, value):
        super().__init__()
        self.network, self.images, self.value = network, images, value

    def forward(self, x):
        away = torch.cdist(x.detach().flatten(1), self.images.flatten(1), p=float("inf")).amin(1) > 1e-3
        if self.value is None and away.any():
            raise RuntimeError("rejected")
        return self.network(x) + torch.where(away, self.value or 0.0, 0.0)[:, None]


QUICK = escrime.Effort(images=20, steps=5, queries=20, draws=5, doublings=0)


@pytest.mark.parametrize("checks", [False, QUICK])
def test_a_deployed_model_that_raises_is_not_right_where_it_did(linear, data, checks):
    result = evaluate({"m": linear}, data, [FGSM(0.02), PGD(0.05)], deployed=Limited(linear, data[0], None), checks=checks)
    assert list(result.deployment.attack) == [CLEAN] and result.deployment.n[0] == 150
    (failed,) = [finding for finding in result.checks if finding.id == "attack-failed"]
    assert failed.model == "deployed" and "rejected" in failed.message and "FGSM on 150 images" in failed.message
    assert not [finding for finding in result.checks if finding.id == "attack-failed" and finding.model == "m"]


@pytest.mark.parametrize("checks", [False, QUICK])
def test_a_deployed_model_without_numbers_is_an_alarm_about_it(linear, data, checks):
    deployed = Limited(linear, data[0], float("nan"))
    result = evaluate({"m": linear}, data, FGSM(0.02), deployed=deployed, checks=checks)
    (alarm,) = [finding for finding in result.checks if finding.id == "non-finite"]
    assert alarm.model == "deployed" and alarm.evidence["FGSM"] == 150 and alarm.severity == "alarm"
    assert not any(finding.id == "non-finite" for finding in evaluate({"m": linear}, data, FGSM(0.02)).checks)


def test_a_deployed_model_that_looks_at_its_batch_is_an_alarm_about_it(linear, data):
    class Together(torch.nn.Module):
        def forward(self, x):
            return linear(x) + 5 * linear(x).mean(0)

    result = evaluate({"m": linear}, data, FGSM(0.02), deployed=Together(), checks=QUICK)
    alarms = [(finding.model, finding.id) for finding in result.alarms]
    assert ("deployed", "batch-dependent") in alarms and all(model == "deployed" for model, _ in alarms)


def test_the_checks_of_what_is_deployed_that_time_cuts_off_are_told_and_made_up_for(linear, data, other, monkeypatch):
    """By whoever goes on with the same store. Of the model itself nothing is left open, so its verdict stands."""
    looked, whole, store = [], pipeline.findings_of_deployed, MemoryStore()

    def cut(*args):
        looked.append("cut")
        raise OutOfTime

    def in_time(*args):
        looked.append("in time")
        return whole(*args)

    monkeypatch.setattr(evaluation, "MemoryStore", lambda: store)
    monkeypatch.setattr(pipeline, "findings_of_deployed", cut)
    run = partial(escrime.evaluate, {"m": linear}, data, PGD(0.02), deployed=other, budget="10min", checks=QUICK)
    first = run()
    (told,) = [finding for finding in first.checks if finding.threat == "deployed"]
    assert told.id == "budget" and told.severity == "warning"
    assert "of the checks this was left out: all checks of" in told.message and "Run again to go on" in told.remedy
    monkeypatch.setattr(pipeline, "findings_of_deployed", in_time)
    then, tried = run(), len(looked)
    assert looked[-1] == "in time" and not [finding for finding in then.checks if finding.id == "budget"]
    assert [verdict.sentence for verdict in first.verdicts] == [verdict.sentence for verdict in then.verdicts]
    run()
    assert len(looked) == tried, "what was looked at is not looked at again"
