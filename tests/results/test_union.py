"""Several norms at once: what is left when the attacker may choose another for every image."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from escrime.results.findings import Finding
from escrime.results.records import frame
from escrime.results.union import unions
from escrime.results.verdicts import verdicts

IMAGES = 10


def rows(
    norm,
    right,
    *,
    preliminary=None,
    passes=10.0,
    defense="none",
    threat="white-box",
    images=IMAGES,
    eps=0.1,
    draws=1,
    clean=None,
):
    """One attack in a norm on `images`: `right`, the score of each."""
    scores = np.asarray(right, float)
    block = {
        "model": "net", "defense": defense, "threat": threat, "attack": f"A-{norm}", "norm": norm, "eps": eps,
        "image": [f"i{k}" for k in range(images)], "subsets": "", "label": 0, "target": -1,
        "clean_prediction": 0 if clean is None else np.where(clean, 0, 1), "clean_confidence": 0.9,
        "prediction": np.where(scores > 0.5, 0, 1), "confidence": 0.8, "correct": scores,
        "preliminary": scores if preliminary is None else np.asarray(preliminary, float), "hit": 0.0,
        "draws": draws, "distance": eps, "forwards": passes, "backwards": 0.0, "verified": True, "survives_8bit": True,
        "seed": 0,
    }  # fmt: skip
    return frame(block)


def union(*parts):
    records = pd.concat(parts, ignore_index=True)
    return unions(records, verdicts(records, []))


def test_one_norm_has_none():
    assert union(rows("linf", [1] * IMAGES)) == []


def test_the_worst_norm_of_each_image_counts():
    (found,) = union(rows("linf", [0, 0, 0, 0] + [1] * 6), rows("l2", [1, 1, 1, 0, 0] + [1] * 5, passes=2.0))
    assert (found.accuracy, found.n, found.model, found.defense) == (0.5, 10, "net", "none")
    first, second = found.rows
    assert (first.norm, first.accuracy, first.alone, first.passes) == ("l2", 0.8, 1, 10.0), "the cheapest per image first"
    assert (second.norm, second.accuracy, second.alone, second.passes) == ("linf", 0.6, 3, 25.0)
    assert found.low < 0.5 < found.high and "whichever threat the attacker chooses for each" in found.sentence
    assert "l2, ε = 0.1; l_inf, ε = 0.1" in found.sentence


def test_what_is_wrong_anyway_is_nobody_s_success():
    clean = [False] + [True] * 9
    (found,) = union(rows("linf", [0] + [1] * 9, clean=clean), rows("l2", [0, 0] + [1] * 8, clean=clean))
    assert found.accuracy == 0.8 and [row.norm for row in found.rows] == ["l2", "linf"]
    assert found.rows[0].passes == 100 and found.rows[1].passes is None, "no image: sorted last"


def test_only_images_that_every_norm_was_tried_on():
    (found,) = union(rows("linf", [1] * IMAGES), rows("l2", [0, 1, 1, 1], images=4))
    assert found.n == 4 and found.accuracy == 0.75 and {row.n for row in found.rows} == {4}


def test_a_randomized_model_is_not_judged_by_the_least_of_noisy_scores():
    """Other draws choose the threat of an image than those that score it."""
    noisy, other = [0.4, 0.6] * 5, [0.6, 0.4] * 5
    lucky = ([0.3] * 5 + [0.7] * 5, [0.7] * 5 + [0.3] * 5)
    parts = [rows(n, s, preliminary=p, draws=8) for n, s, p in (("linf", noisy, lucky[0]), ("l2", other, lucky[1]))]
    (found,) = union(*parts)
    assert found.accuracy == pytest.approx((0.4 * 3 + 0.6 * 2 + 0.4 * 3 + 0.6 * 2) / 10) and found.accuracy > 0.4


def test_a_randomized_model_is_judged_by_another_threat_for_each_image():
    """Half of the images fall to one threat alone, half to the other: nothing is left."""
    halves = [0.0] * 5 + [1.0] * 5
    (found,) = union(rows("linf", halves, draws=8), rows("l2", halves[::-1], draws=8))
    assert found.accuracy == 0 and [row.alone for row in found.rows] == [5, 5] and "lower" not in found.sentence


def test_passes_that_nobody_told_cost_not_nothing():
    (found,) = union(rows("linf", [0] * IMAGES, passes=float("nan")), rows("l2", [0] * IMAGES, passes=7.0))
    assert [(row.norm, row.passes) for row in found.rows] == [("l2", 7.0), ("linf", None)]


def test_believed_where_all_are():
    (found,) = union(rows("linf", [1] * IMAGES), rows("l2", [1] * IMAGES))
    assert not found.believe and "may be lower, for the number of" in found.sentence
    assert found.as_dict()["rows"][0]["norm"] in ("linf", "l2") and found.as_dict()["believe"] is False


def test_each_defense_has_its_own():
    parts = [
        rows(n, [1] * IMAGES, defense=d, threat=t)
        for n in ("linf", "l2")
        for d, t in (("none", "white-box"), ("ppa", "adaptive"))
    ]
    assert [one.defense for one in union(*parts)] == ["none", "ppa"]


def test_where_a_believed_threat_leaves_nothing_no_other_can_leave_less():
    for left in (0, 1):
        records = pd.concat([rows("linf", [0] * (IMAGES - left) + [1] * left), rows("l2", [1] * IMAGES)], ignore_index=True)
        looked = Finding("attack-strength", "passed", "looked")
        judged = [replace(one, believe=one.norm == "linf") for one in verdicts(records, [looked])]
        (found,) = unions(records, judged)
        assert found.believe == (left == 0) == found.sentence.endswith("%).") and found.accuracy == left / IMAGES
