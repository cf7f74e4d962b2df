"""The images alone: leaks, duplicates and absent classes are found in sets and in pairs."""

import json

import numpy as np
import pytest
import torch

from escrime.data import ImageSet, load
from escrime.errors import EscrimeError
from escrime.evaluation.checks.data import data_findings


def images(n, seed=0, size=4):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def imageset(pixels, labels=None, name="s", classes=("a", "b", "c")) -> ImageSet:
    labels = np.arange(len(pixels)) % len(classes) if labels is None else labels
    return ImageSet(name, pixels, labels, tuple(f"{name}/{i}" for i in range(len(pixels))), classes)


def found(test, train=None) -> dict:
    findings = data_findings(test, train)
    json.dumps([finding.as_dict() for finding in findings], allow_nan=False)
    return {finding.id: finding for finding in findings}


def test_clean_sets_pass():
    findings = found(imageset(images(30)), imageset(images(60, 1)))
    assert set(findings) == {"train-test-overlap", "duplicates", "classes"}
    assert {finding.severity for finding in findings.values()} == {"passed"}
    splits = load("digits")
    assert {finding.severity for finding in data_findings(splits.test, splits.train)} == {"passed"}


def test_test_images_in_the_training_set_are_an_alarm():
    train = images(60, 1)
    test = images(30)
    test[[3, 8]] = train[[50, 7]]
    finding = found(imageset(test, name="test"), imageset(train))["train-test-overlap"]
    assert finding.severity == "alarm" and finding.message.startswith("2 of 30 test images (6.7%)")
    assert finding.evidence["some of them"] == ["test/3", "test/8"]


def test_one_among_many_is_a_note():
    train, test = images(10, 1, 2), images(300, 0, 2)
    test[5] = train[0]
    assert found(imageset(test), imageset(train))["train-test-overlap"].severity == "note"


def test_pairs_of_tensors_are_compared_as_8_bit_images():
    pixels = images(60, 1)
    train = (torch.from_numpy(pixels).float() / 255, torch.arange(60) % 3)
    test = ((train[0][:4] - 1e-4).clamp(0), train[1][:4])  # a float's breadth away from the same image
    finding = found(test, train)["train-test-overlap"]
    assert finding.severity == "alarm" and finding.evidence["some of them"] == ["0", "1", "2", "3"]
    mixed = found((torch.from_numpy(pixels[:4]), [0, 1, 2, 0]), imageset(pixels))
    assert mixed["train-test-overlap"].evidence["in both"] == 4
    assert found(test)["duplicates"].severity == "passed"


def test_sets_of_different_sizes_are_a_sentence():
    finding = found(imageset(images(6)), imageset(images(6, 1, 5)))["train-test-overlap"]
    assert finding.severity == "note" and "(3, 4, 4)" in finding.message and "(3, 5, 5)" in finding.message


def test_repeated_test_images_are_counted():
    pixels = images(12)
    pixels[[4, 9]] = pixels[1]
    finding = found(imageset(pixels))["duplicates"]
    assert finding.severity == "warning" and finding.message.startswith("2 of 12 test images repeat another one")
    assert finding.evidence["some of them"] == ["s/1 = s/4 = s/9"] and finding.evidence["at odds over the label"] == 1
    alike = found(imageset(pixels, labels=np.zeros(12, dtype=int)))["duplicates"]
    assert alike.evidence["at odds over the label"] == 0 and "label" not in alike.message


def test_a_class_without_images_is_named():
    finding = found(imageset(images(6), labels=np.array([0, 2, 0, 2, 0, 0])))["classes"]
    assert finding.severity == "note" and finding.message == "1 of 3 classes have no test image: b"
    train = (images(6, 1), np.array([0, 1, 2, 3, 4, 5]))
    assert found((images(6), np.arange(6) % 5), train)["classes"].evidence["absent"] == ["5"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ((torch.full((2, 3, 4, 4), 3.0), torch.zeros(2, dtype=torch.long)), "0–255"),
        ((torch.rand(2, 3, 4, 4), torch.zeros(3, dtype=torch.long)), "labels .* for 2 images"),
        ((torch.rand(2, 3, 4, 4),), "a tuple of 1"),
    ],
)
def test_data_outside_the_contract_is_a_sentence(data, sentence):
    with pytest.raises(EscrimeError, match=sentence):
        data_findings(data)


def test_no_image_is_no_crash():
    assert data_findings((torch.rand(0, 3, 4, 4), torch.zeros(0, dtype=torch.long))) == []
