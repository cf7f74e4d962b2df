"""Which images of an evaluation are shown: chosen from the records, and made again as the records have them."""

import numpy as np
import pandas as pd
import pytest

from escrime.commands.evaluate.pictures import CLOSEST, MOST, STANDS, SUREST, chosen
from escrime.results.records import frame

EPS = 0.1


@pytest.fixture
def records():
    """Ten images of two classes under FGSM; the first four are wrong, the surer the later, then the right ones likewise."""
    n = 10
    order, labels = np.arange(n), np.arange(n) % 2
    wrong = order < 4
    rows = {
        **{"model": "net", "defense": "none", "threat": "white-box", "attack": "FGSM", "norm": "linf", "eps": EPS},
        **{"image": [f"i/{i}" for i in order], "subsets": "", "label": labels, "target": -1, "clean_prediction": labels},
        **{"clean_confidence": 0.9, "prediction": np.where(wrong, 1 - labels, labels), "confidence": 0.5 + order / 25},
        **{"correct": (~wrong).astype(float), "hit": 0.0, "draws": 1, "distance": EPS, "forwards": 2.0, "backwards": 1.0},
        **{"verified": True, "survives_8bit": True, "seed": 0},
    }
    return frame(rows)


def picked(records):
    return [(title, row["image"]) for title, row in chosen(records, EPS, {"FGSM", "PGD"})]


def test_the_closest_the_surest_and_three_that_stand(records):
    assert picked(records) == [(CLOSEST, "i/4"), (SUREST, "i/3"), (STANDS, "i/9"), (STANDS, "i/8"), (STANDS, "i/7")]


def test_one_class_after_another(records):
    records["label"] = records["clean_prediction"] = np.array([0] * 8 + [1] * 2)
    records["prediction"] = np.where(records["correct"] == 1, records["label"], 2)
    assert [image for title, image in picked(records) if title == STANDS] == ["i/9", "i/7", "i/8"]


def test_what_another_attack_fools_does_not_stand(records):
    other = records.assign(attack="PGD", forwards=float(MOST), correct=(records["image"] == "i/5").astype(float))
    other["preliminary"] = other["correct"]
    other["prediction"] = np.where(other["correct"] == 1, other["label"], 1 - other["label"])
    found = picked(pd.concat([records, other], ignore_index=True))
    assert (CLOSEST, "i/5") in found and not [title for title, _ in found if title == STANDS]
    assert (SUREST, "i/3") in found  # those of PGD would cost too much to make again


def test_what_was_wrong_anyway_and_what_is_not_ours_is_no_picture(records):
    records["clean_prediction"] = np.where(records["image"] == "i/3", 1 - records["label"], records["label"])
    assert (SUREST, "i/2") in picked(records)
    assert picked(records.assign(attack="stronger")) == []
    assert picked(records.assign(eps=0.2)) == []
