"""`tune` on data that cannot tell says so, with the reason, and recommends nothing."""

import numpy as np
import pandas as pd
import pytest

from escrime.results.choosing import UNDEFENDED, Choice
from escrime.results.undecided import why_undecided

SETTING = (0.3, 8)
LABELS = np.arange(40) % 10


def why(
    clean=(0.9, 0.77, 0.96), attacked=0.2, worth_it=True, confirmed=True, high=0.3, p=0.001, labels=LABELS, candidate=0.4, n=40
):
    validated = {
        "n": n,
        "undefended": {"clean": clean, "attacked": (attacked, 0.0, 1.0)},
        "candidate": {"clean": clean, "attacked": (candidate, 0.0, 1.0)},
        "tests": {"mean": {"difference": 0.1, "low": -0.02, "high": high, "p": p}},
    }
    choice = Choice(SETTING, SETTING if worth_it else UNDEFENDED, (0.0, 0.0), (0.1, 0.02))
    return why_undecided(pd.DataFrame({"attacked": [attacked, candidate]}), choice, validated, confirmed, labels)


def test_data_that_tell_need_no_reason():
    assert why() == ""
    assert why(worth_it=False, confirmed=False, high=0.02, p=0.4) == "", "that nothing is worth its cost can be told too"


@pytest.mark.parametrize(
    ("hopeless", "said"),
    [
        ({"clean": (0.0, 0.0, 0.09)}, "gets none of 40 images right without attack"),
        ({"clean": (0.15, 0.07, 0.29)}, "always naming the commonest class would get 10.0%"),
        ({"labels": np.zeros(40, int), "clean": (1.0, 0.91, 1.0)}, "commonest class would get 100.0%"),
        ({"attacked": 0.0, "candidate": 0.0}, "try a smaller ε"),
        ({"confirmed": False, "p": 0.3}, "is not confirmed on 40 others (95 % interval −2.0 to +30.0 points"),
        ({"worth_it": False, "confirmed": False, "p": 0.6}, "too few to exclude a gain"),
    ],
)
def test_the_reason(hopeless, said):
    assert said in why(**hopeless)
