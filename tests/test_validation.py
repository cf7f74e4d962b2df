"""Values from outside come back as plain ones, or are refused in a sentence with the value and the remedy."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from escrime.errors import EscrimeError, nearest
from escrime.validation import BOUND, check_choice, check_flag, check_real, check_time, check_type, check_whole


@pytest.mark.parametrize(
    ("value", "low", "plain"), [(8, 1, 8), (np.int64(3), 1, 3), (0, 0, 0), (-2, None, -2), (BOUND - 1, 1, BOUND - 1)]
)
def test_whole_numbers(value, low, plain):
    found = check_whole("n", value, low)
    assert found == plain and type(found) is int


@pytest.mark.parametrize(("value", "plain"), [(1, 1.0), (np.float32(0.5), 0.5), (Fraction(1, 4), 0.25)])
def test_real_numbers(value, plain):
    found = check_real("x", value, low=0, high=1)
    assert found == plain and type(found) is float


REFUSED = [
    (check_whole, 0, {}, "n = 0 is not a whole number from 1; give one."),
    (check_whole, True, {"low": None, "hint": "such as 1"}, "n = True is not a whole number; give one, such as 1."),
    (check_whole, 2.0, {"of": "images"}, "n = 2.0 is no number of images; give a whole number from 1."),
    (check_whole, BOUND, {"low": 0}, f"n = {BOUND} is not a whole number from 0 below 2⁶³; give one."),
    (check_whole, 10**5000, {}, "n = an integer of 16,610 bits is not a whole number from 1 below 2⁶³; give one."),
    (check_real, float("nan"), {}, "n = nan is not a finite number; give one."),
    (check_real, 10**400, {}, "n = an integer of 1,329 bits is not a finite number; give one."),
    (check_real, "1", {"low": 0}, "n = '1' is not a number from 0; give one."),
    (check_real, False, {"low": 0}, "n = False is not a number from 0; give one."),
    (
        check_real,
        2,
        {"low": 0, "high": 1, "hint": "such as 0.4"},
        "n = 2 is not a number from 0 to 1; give one, such as 0.4.",
    ),
    (check_real, 0, {"above": 0, "high": 1}, "n = 0 is not a number above 0 and at most 1; give one."),
    (check_real, 1.0, {"above": 0, "below": 1}, "n = 1.0 is not a number above 0 and below 1; give one."),
    (check_choice, "lnf", {"choices": ["linf", "l2"]}, "n 'lnf' is unknown; use one of linf, l2. Did you mean 'linf'?"),
    (check_choice, ["l2"], {"choices": {"linf": 1}}, "n ['l2'] is unknown; use one of linf."),
    (check_flag, 1, {}, "n = 1 is no switch; give true or false."),
    (
        check_type,
        "a",
        {"kind": int | None, "hint": "such as 3"},
        "n = 'a' is not a whole number; give one, such as 3, or leave it out.",
    ),
    (check_type, True, {"kind": float | str}, "n = True is not a finite number; give one."),
    (check_type, "x", {"kind": Literal["a", "b"]}, "n 'x' is unknown; use one of a, b."),
    (check_type, (1, 2), {"kind": tuple[int, int, int]}, "n = (1, 2) is not a tuple of what it holds; give that."),
    (check_type, 3, {"kind": Path}, "n = 3 is not a Path; give that."),
    (check_time, "soon", {}, "n = 'soon' is no time; give seconds, or write '90s', '10min' or '2h'."),
    (check_time, True, {}, "n = True is no time; give seconds, or write '90s', '10min' or '2h'."),
    (check_time, "10 days", {}, "n = '10 days' is no time; give seconds, or write '90s', '10min' or '2h'."),
    (check_time, "-3s", {}, "n = '-3s' leaves no time; give more, such as '10min'."),
]


@pytest.mark.parametrize(("check", "value", "limits", "sentence"), REFUSED, ids=[row[-1] for row in REFUSED])
def test_what_is_refused_and_how(check, value, limits, sentence):
    with pytest.raises(EscrimeError) as error:
        check("n", value, **limits)
    assert str(error.value) == sentence


def test_times_in_words():
    assert [check_time("t", text) for text in ("90", "90s", "10min", "2h", "1.5 m", 7)] == [90, 90, 600, 7200, 90, 7]


@pytest.mark.parametrize(
    ("word", "choices", "meant"),
    [
        ("bvlc_googlenet", ["googlenet", "googlenet_bvlc", "googlenet_bvlc_auxiliary"], "googlenet_bvlc"),
        ("bvlc-googlnet", ["googlenet", "googlenet_bvlc", "googlenet_bvlc_auxiliary"], "googlenet_bvlc"),
        ("googlenet_bvcl", ["googlenet", "googlenet_bvlc"], "googlenet_bvlc"),
        ("auto-attack", ["APGD", "AutoAttack"], "AutoAttack"),
        ("resnet50_2_wide", ["resnet50", "wide_resnet50_2"], "wide_resnet50_2"),
    ],
)
def test_what_may_have_been_meant(word, choices, meant):
    assert nearest(word, choices) == nearest(word, iter(choices)) == f" Did you mean {meant!r}?"


def test_other_words_for_a_choice():
    others = {"rotation": "spatial"}
    assert nearest("rotatoin", ["linf", "spatial"], others) == " Did you mean 'spatial'?"
    assert nearest("qwxz", ["linf", "spatial"], others) == ""
