"""The embedded digits: known numbers of images, known pixels, a split that never moves."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from escrime.data import load, overlap


@pytest.fixture(scope="module")
def splits():
    return load("digits")


def test_counts_classes_and_range(splits):
    train, test = splits
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (1437, 3, 8, 8) and test.images.shape == (360, 3, 8, 8)
    assert train.classes == test.classes == tuple("0123456789")
    assert train.subsets == test.subsets == {} and train.wnids is None
    assert train.images.min() == 0 and train.images.max() == 255


def test_pixels_are_scikit_learns(splits):
    source = load_digits()
    for part in splits:
        rows = [int(name.removeprefix("digits/")) for name in part.ids]
        assert (part.labels == source.target[rows]).all()
        for channel in range(3):
            assert (part.images[:, channel] == np.rint(source.images[rows] * 255 / 16)).all()


def test_split_is_complete_disjoint_and_in_proportion(splits):
    train, test = splits
    assert not set(train.ids) & set(test.ids)
    assert set(train.ids) | set(test.ids) == {f"digits/{row:04d}" for row in range(1797)}
    whole = np.bincount(load_digits().target)
    assert np.abs(np.bincount(test.labels) - whole * 360 / 1797).max() < 1
    assert overlap(train, test) == ()


def test_split_is_the_same_on_every_machine(splits):
    """Published numbers refer to this split: whoever changes it must mean to."""
    assert splits.test.ids[:5] == ("digits/0005", "digits/0007", "digits/0011", "digits/0014", "digits/0018")
    assert splits.train.fingerprint == "c5823fe7683b41590ccb79a38021d5bc"
    assert splits.test.fingerprint == "39a184792d6ac57fd30eb199a6d28196"


@pytest.mark.parametrize("size", [5, 16, 28])
def test_other_sizes_keep_images_and_split(splits, size):
    larger = load("digits", size=size)
    assert larger.train.images.shape == (1437, 3, size, size)
    assert larger.test.ids == splits.test.ids and (larger.test.labels == splits.test.labels).all()
    assert (larger.test.images[:, 0] == larger.test.images[:, 2]).all()
    means = [part.images.mean(axis=(1, 2, 3)) for part in (splits.test, larger.test)]
    assert np.abs(means[0] - means[1]).max() < 20 and np.corrcoef(*means)[0, 1] > 0.9


def test_one_split_alone_is_that_of_both(splits):
    alone = load("digits", split="test")
    assert len(alone.train) == 0 and alone.test.fingerprint == splits.test.fingerprint
    assert load("digits", split="train").train.ids == splits.train.ids
