"""Differences on the same images: known answers, and the interval covers the truth as often as it says."""

import numpy as np
import pytest

from escrime.report.intervals import difference, proportion


def test_proportion_ignores_what_was_not_measured():
    point = proportion(np.array([1, 0, 1, 1, np.nan]), 0.1)
    assert (point.value, point.n, point.eps) == (0.75, 4, 0.1)
    assert point.low == pytest.approx(0.3006, abs=1e-4) and point.high == pytest.approx(0.9544, abs=1e-4)  # Wilson, 3 of 4


def test_a_difference_of_the_same_scores_is_zero_with_a_width():
    scores = np.array([1.0] * 30 + [0.0] * 20)
    point = difference(scores, scores)
    assert point.value == 0 and -0.02 < point.low <= 0 <= point.high < 0.02  # fully correlated: nearly certain


def test_unpaired_extremes_match_the_closed_form():
    # All right against all wrong: the limits are 1 − √((1−l)² + u²) with Wilson's l of n/n and u of 0/n.
    n, z2 = 40, 1.959964**2
    point = difference(np.ones(n), np.zeros(n))
    shrink = z2 / (n + z2)
    assert point.value == 1 and point.high == 1
    assert point.low == pytest.approx(1 - np.sqrt(2) * shrink, abs=1e-6)


def test_pairs_with_a_missing_half_are_left_out():
    point = difference(np.array([1, 1, np.nan]), np.array([0, np.nan, 0]))
    assert (point.value, point.n) == (1.0, 1)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        shared = rng.random(80)
        first, second = (
            (shared < 0.7).astype(float),
            (np.where(rng.random(80) < 0.7, shared, rng.random(80)) < 0.4).astype(float),
        )
        point = difference(first, second)
        covered += point.low <= 0.3 <= point.high
    assert 0.92 <= covered / 400 <= 0.99
