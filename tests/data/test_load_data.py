"""The one entry: names, sizes and options it refuses, and what it says then."""

import pytest

from escrime import EscrimeError
from escrime.data import DATASETS, load


def test_datasets_are_described_in_a_line():
    assert set(DATASETS) == {"digits", "imagenette", "cifar10", "folder"}
    assert all(dataset.what and "\n" not in dataset.what for dataset in DATASETS.values())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "imagenet"}, "'imagenet' is unknown; use one of digits, .* Did you mean 'imagenette'?"),
        ({"name": "CIFAR-10"}, "'CIFAR-10' is unknown"),
        ({"name": "digits", "size": 0}, "size = 0"),
        ({"name": "digits", "size": -8}, "size = -8"),
        ({"name": "digits", "size": 8.5}, "size = 8.5"),
        ({"name": "digits", "size": "8"}, "size = '8'"),
        ({"name": "digits", "train_size": 0}, "train_size = 0"),
        ({"name": "digits", "split": "training"}, "split 'training' is unknown.* Did you mean 'train'?"),
        ({"name": "digits", "on_error": "ignore"}, "on_error 'ignore' is unknown; use one of raise, skip"),
        ({"name": "digits", "folder": "somewhere"}, "built in.*leave out --data somewhere .*--folder somewhere"),
        ({"name": "folder"}, "needs to know where the images are; give --data .*--folder"),
    ],
)
def test_bad_options_are_one_clear_sentence(options, message):
    with pytest.raises(EscrimeError, match=message):
        load(**options)


def test_a_folder_given_as_the_name_gets_the_right_advice(tmp_path):
    with pytest.raises(EscrimeError, match="use 'folder' with --data .*train.*--folder"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", ["imagenette", "cifar10"])
def test_absent_data_says_how_to_get_them(name):
    with pytest.raises(EscrimeError, match=r"not on this machine.*--data DIR.*--folder DIR.*allow the download"):
        load(name)


@pytest.mark.parametrize("name", ["imagenette", "cifar10", "folder"])
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(EscrimeError, match="nowhere' does not exist.*--data DIR.*--folder DIR"):
        load(name, folder=tmp_path / "nowhere")


def test_training_images_may_be_larger():
    both, plain = load("digits", size=8, train_size=10), load("digits")
    assert both.train.images.shape == (1437, 3, 10, 10) and both.test.images.shape == (360, 3, 8, 8)
    assert both.test.fingerprint == plain.test.fingerprint and both.train.ids == plain.train.ids
