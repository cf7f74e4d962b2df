"""What a model that never looks would get as well, and what that does to belief."""

import pytest
import torch

from escrime.results.checks.chance import chance_findings
from escrime.results.findings import Finding
from escrime.results.verdicts import verdicts
from tests.results.checks.test_record_checks import attacked


def found(predictions, labels, classes):
    return {f.id: f.severity for f in chance_findings(torch.tensor(predictions), torch.tensor(labels), classes)}


@pytest.mark.parametrize(
    ("predictions", "labels", "classes", "said"),
    [
        ([0, 1] * 20, [0, 1] * 20, 2, {"near-chance": "passed"}),
        ([0] * 40, [0] * 36 + [1] * 4, 2, {"near-chance": "warning", "one-class": "warning"}),  # 90 % right, and blind
        ([0] * 40, [0, 1] * 20, 2, {"near-chance": "alarm", "one-class": "alarm"}),
        ([3] * 40, [3] * 40, 10, {"near-chance": "passed", "one-class": "warning"}),
        ([0, 1] * 20 + [-1] * 60, [0, 1] * 50, 2, {"near-chance": "passed"}),  # of NaN another check tells
        ([0, 0], [0, 0], 2, {"near-chance": "warning", "one-class": "warning"}),
        ([0] * 30, [0] * 30, 1, {"one-class": "alarm"}),
        ([0, 1, 2] * 12, [1, 2, 0] * 12, 3, {"class-order": "alarm", "near-chance": "alarm"}),
        ([0] * 9 + list(range(1, 10)) + [5], [1] + [0] * 8 + [0, 2, 3, 4, 5, 6, 7, 8, 9, 5], 1000, None),
    ],
)
def test_what_a_blind_model_would_get_too(predictions, labels, classes, said):
    severities = found(predictions, labels, classes)
    assert severities == said if said is not None else "one-class" not in severities


@pytest.mark.parametrize(
    ("predictions", "labels", "classes", "moved"),
    [
        (
            [3] * 12 + [1] * 12 + [2] * 12 + [0] * 12,
            [0] * 12 + [1] * 12 + [2] * 12 + [3] * 12,
            4,
            2,
        ),  # 50 % right, not by chance
        ([1] * 9 + [0] + [2] * 10 + [0] * 10, [0] * 10 + [1] * 10 + [2] * 10, 3, 3),
        ([1] * 20 + [1] * 20, [0] * 20 + [1] * 20, 2, 0),  # takes one for the other, but not the other for the one
        ([1, 0, 2, 3] * 2, [0, 1, 2, 3] * 2, 4, 0),  # two images of each
        ([0] * 11 + [1] * 9 + [1] * 11 + [0] * 9, [0] * 20 + [1] * 20, 2, 0),
        ([5, 6] * 20, [0, 1] * 20, 10, 0),  # of classes that no image has
    ],
)
def test_classes_in_another_order(predictions, labels, classes, moved):
    order = [f for f in chance_findings(torch.tensor(predictions), torch.tensor(labels), classes) if f.id == "class-order"]
    assert [f.evidence["classes moved"] for f in order] == [moved] * (moved > 0)


LOOKED = Finding("attack-strength", "passed", "looked")


@pytest.mark.parametrize(("n", "believed"), [(2, False), (19, False), (24, True), (50, True)])
@pytest.mark.parametrize("left", [0.0, 1.0])
def test_a_headline_over_too_few_images_is_not_believed(n, left, believed):
    (verdict,) = verdicts(attacked("PGD", {0.1: left}, n), [LOOKED])
    assert verdict.believe is believed
    assert ("few-images" in verdict.sentence) is not believed and ("no check objects" in verdict.sentence) is believed


@pytest.mark.parametrize("id", ["near-chance", "one-class"])
def test_what_cannot_be_told_from_a_blind_model_is_not_believed(id):
    (verdict,) = verdicts(attacked("PGD", {0.1: 0.5}, 50), [LOOKED, Finding(id, "warning", "nobody knows")])
    assert not verdict.believe and id in verdict.sentence and "no check objects" not in verdict.sentence


def test_too_few_of_another_subset_say_nothing_of_this_one():
    few = Finding("few-images", "warning", "n = 12", {"n": 12, "subset": "leak-free"})
    (verdict,) = verdicts(attacked("PGD", {0.1: 0.5}, 50), [LOOKED, few])
    assert verdict.believe
