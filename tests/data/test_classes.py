"""The classes of a folder and of a model: matched by WordNet id or by name, never by chance."""

import numpy as np
import pytest

from escrime import EscrimeError
from escrime.data import ImageSet, labels_for


def images(classes, wnids=None):
    count = 2 * len(classes)
    pixels = np.zeros((count, 3, 8, 8), dtype=np.uint8)
    return ImageSet("mine", pixels, np.arange(count) % len(classes), tuple(map(str, range(count))), tuple(classes), wnids=wnids)


def test_by_name_whatever_the_spelling():
    found = labels_for(
        images(["English_springer", "tench"]), 3, ["Tench, Tinca tinca", "goldfish", "english springer"], None, "m"
    )
    assert found.labels.tolist() == [2, 0, 2, 0] and found.classes[2] == "english springer"
    assert found.fingerprint == images(["English_springer", "tench"]).fingerprint


def test_by_wordnet_id():
    wnids = ("n01440764", "n01443537", "n02102040")
    mine = images(["n02102040", "n01440764"], ("n02102040", "n01440764"))
    assert labels_for(mine, 3, ["tench", "goldfish", "springer"], wnids, "m").labels.tolist() == [2, 0, 2, 0]
    assert labels_for(mine, 3, None, wnids, "m").classes == ("tench", "goldfish", "English springer"), "names, not ids"


def test_wordnet_ids_of_the_one_meet_names_of_the_other():
    wnids, names = ("n02102040", "n01440764"), ["tench", "English springer"]
    mine = images(["English springer", "tench"], wnids)
    assert labels_for(mine, 2, names, None, "m").labels.tolist() == [1, 0, 1, 0]
    mine = images(["English springer", "tench"])
    assert labels_for(mine, 2, wnids[::-1], None, "m").labels.tolist() == [1, 0, 1, 0]


def test_without_names_the_order_counts_where_the_numbers_agree():
    assert labels_for(images("ab"), 2, None, None, "m").labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(EscrimeError, match="10 classes without names, the images have 2 .a, b."):
        labels_for(images("ab"), 10, None, None, "m")


def test_a_mismatch_shows_both_lists():
    with pytest.raises(EscrimeError, match="class 'dog' that m does not know.*2 classes: cat, dog.*model's 3: cat, cow, hen"):
        labels_for(images(["cat", "dog"]), 3, ["cat", "cow", "hen"], None, "m")
    with pytest.raises(EscrimeError, match="'crane' could be class 0 or 2 of m"):
        labels_for(images(["crane", "hen"]), 3, ["crane, bird", "hen", "crane, machine"], None, "m")


def test_this_very_name_comes_before_another_spelling_and_a_synonym():
    assert labels_for(images(["A", "a"]), 2, ["a", "A"], None, "m").labels.tolist() == [1, 0, 1, 0]
    assert labels_for(images(["crane", "hen"]), 3, ["Crane", "hen", "crane, machine"], None, "m").labels.tolist() == [
        0,
        1,
        0,
        1,
    ]


def test_accents_match_however_they_are_encoded():
    """A folder from macOS writes é as two characters."""
    for mine, models in (("cafe\u0301", "caf\u00e9"), ("Cafe\u0301_noir", "caf\u00e9 noir")):
        assert labels_for(images([mine, "tea"]), 2, ["tea", models], None, "m").labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("count", [2, 4])
def test_one_name_for_each_class(count):
    for names, wnids in ((["cat", "dog", "emu"], None), (None, ("n01", "n02", "n03"))):
        with pytest.raises(EscrimeError, match=f"m answers with {count} classes, but names 3 .*give it one name for each"):
            labels_for(images(["cat", "dog"]), count, names, wnids, "m")
