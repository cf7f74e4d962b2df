"""Intervals and tests against published values."""

import math

import pytest
from scipy.stats import binomtest

from escrime.evaluation.statistics import mcnemar, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (5, 10), (49, 50), (3925, 3925), (1, 500)])
def test_wilson_equals_scipy(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_an_expected_score_lies_between_its_neighbors():
    low, high = wilson(7.5, 10)
    assert wilson(7, 10)[0] < low < wilson(8, 10)[0] and wilson(7, 10)[1] < high < wilson(8, 10)[1]


def test_wilson_of_nothing_is_unknown():
    assert all(map(math.isnan, wilson(0, 0)))


def test_mcnemar_counts_only_disagreements():
    first, second = [1] * 80 + [1] * 9 + [0] * 1, [1] * 80 + [0] * 9 + [1] * 1
    assert mcnemar(first, second) == pytest.approx(binomtest(9, 10).pvalue)
    assert mcnemar([1, 0], [1, 0]) == 1.0
