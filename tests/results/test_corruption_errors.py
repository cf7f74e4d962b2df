"""What the records of corrupted images come to: means over corruptions, and intervals over images."""

import numpy as np
import pandas as pd
import pytest

from escrime.corruptions import COMMON
from escrime.results.corruptions import (
    ALEXNET,
    ALEXNET_CLEAN,
    by_corruption,
    corrupted,
    corruption_errors,
    corruption_rows,
    corruption_text,
)
from escrime.results.records import frame

RIGHT = {"label": 0, "clean_prediction": 0}


def rows(correct, attack="fog", eps=3.0, *, norm="corruption", model="m", subsets="", **more) -> pd.DataFrame:
    """Records of images "0", "1", … under one corruption, right where `correct` says so."""
    correct = np.asarray(correct, float)
    block = {
        **{"model": model, "defense": "none", "threat": "white-box", "attack": attack, "norm": norm, "eps": float(eps)},
        **{"image": [str(k) for k in range(len(correct))], "subsets": subsets, "target": -1, "clean_confidence": 1.0},
        **{"prediction": np.where(correct > 0.5, 0, 1), "confidence": 1.0, "correct": correct, "hit": 0.0, "draws": 1},
        **{"distance": 1.0, "forwards": 0.0, "backwards": 0.0, "verified": True, "survives_8bit": True, "seed": 0, **RIGHT},
    }
    return frame(block | more)


def test_alexnets_errors_are_of_the_fifteen():
    assert list(ALEXNET) == list(COMMON)
    assert np.mean(list(ALEXNET.values())) == pytest.approx(0.787, abs=0.01)


def test_accuracy_by_corruption_and_severity_with_intervals():
    records = pd.concat([rows([1, 1, 1, 0]), rows([1, 0, 0, 0], eps=5), rows([1] * 4, "PGD", 0.1, norm="linf")])
    table = by_corruption(records)
    assert table[["corruption", "severity", "n", "accuracy"]].values.tolist() == [["fog", 3, 4, 0.75], ["fog", 5, 4, 0.25]]
    assert (table["low"] < table["accuracy"]).all() and (table["high"] > table["accuracy"]).all()


def test_means_over_severities_then_over_corruptions():
    """Fog at two severities weighs as much as contrast at two."""
    wrong = [0, 1]  # image 1 is wrong as it is
    records = pd.concat(
        [
            rows([1, 0], "fog", 1, clean_prediction=wrong),
            rows([0, 0], "fog", 5, clean_prediction=wrong),
            rows([1, 0], "contrast", 1, clean_prediction=wrong),
            rows([1, 0], "contrast", 5, clean_prediction=wrong),
        ]
    )
    (found,) = corruption_errors(records).to_dict("records")
    assert (found["n"], found["corruptions"], found["severities"]) == (2, 2, 2)
    assert found["clean"] == 0.5 and found["error"] == pytest.approx((0.75 + 0.5) / 2)
    assert found["relative"] == pytest.approx(found["error"] - 0.5)
    fog, contrast = ALEXNET["fog"], ALEXNET["contrast"]
    assert found["alexnet"] == pytest.approx((0.75 / fog + 0.5 / contrast) / 2)
    assert found["alexnet_relative"] == pytest.approx(0.25 / (fog - ALEXNET_CLEAN) / 2)
    assert found["worst"] == 1.0  # image 0 by fog at severity 5, image 1 as it is


def test_a_model_as_bad_as_alexnet_scores_100():
    images = 1000
    records = []
    for name, error in ALEXNET.items():
        right = np.arange(images) >= round(error * images)
        records += [rows(right, name, severity, clean_prediction=(np.arange(images) < 435).astype(int)) for severity in (1, 5)]
    (found,) = corruption_errors(pd.concat(records)).to_dict("records")
    assert found["alexnet"] == pytest.approx(1, abs=0.002) and found["alexnet_relative"] == pytest.approx(1, abs=0.005)
    assert found["corruptions"] == 15


def test_images_are_drawn_with_all_their_corruptions():
    """Of an image that is right or wrong under all of them, more corruptions are no more evidence."""
    right = np.arange(40) % 2
    one = corruption_errors(rows(right, "fog")).iloc[0]
    many = corruption_errors(pd.concat([rows(right, name) for name in COMMON])).iloc[0]
    assert (one["error_low"], one["error_high"]) == (many["error_low"], many["error_high"])
    assert many["error_high"] - many["error_low"] > 0.25
    mixed = pd.concat([rows(np.roll(right, k), name) for k, name in enumerate(COMMON)])
    assert corruption_errors(mixed).iloc[0]["error_high"] - corruption_errors(mixed).iloc[0]["error_low"] < 0.1


def test_extras_and_images_seen_under_some_only_are_left_out_of_the_means():
    records = pd.concat([rows([1, 1, 0], "fog"), rows([1, 0], "contrast"), rows([0, 0, 0], "saturate")])
    (found,) = corruption_errors(records).to_dict("records")
    assert (found["n"], found["corruptions"], found["error"]) == (2, 2, 0.25) and found["worst"] == 0.5
    table = corruption_rows(records, found)
    assert [row[0] for row in table] == ["corruption", "fog", "contrast", "saturate (extra)"]


def test_what_was_not_corrupted_is_no_row():
    linf = rows([1, 0], "PGD", 0.1, norm="linf")
    broken = rows([1, 0], "fog", 3, verified=False)
    clean = rows([1, 0], "fog", 0)
    assert corrupted(pd.concat([linf, broken, clean])).empty
    assert corruption_errors(linf).empty and "No image" in corruption_text(linf)


def test_no_image_under_all_of_them():
    records = pd.concat([rows([1, 1], "fog"), rows([1, 0], "contrast", image=["a", "b"])])
    assert "no mean over them" in corruption_text(records)


def test_each_classifier_and_subset_has_its_table():
    of = [(model, name, severity) for model in ("one", "two") for name in COMMON for severity in range(1, 6)]
    records = pd.concat([rows([1, 1, 1, 0], name, severity, model=model, subsets="easy") for model, name, severity in of])
    found = corruption_errors(records)
    assert found[["subset", "model"]].values.tolist() == [["easy", "one"], ["easy", "two"]]
    text = corruption_text(records, imagenet=True)
    assert text.count("mCE") == 4 and "\n\ntwo (easy images)" in text and "white-box" not in text
    assert "fog" in text and "75.0%" in text and max(map(len, text.splitlines())) < 160


def test_the_same_interval_every_time():
    records = pd.concat([rows(np.arange(30) % 3 > 0, name) for name in COMMON[:3]])
    assert corruption_errors(records).equals(corruption_errors(records))
