"""Intervals and tests against published values."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon

from escrime import EscrimeError
from escrime.results.statistics import (
    bootstrap,
    first_of_draws,
    holm,
    mcnemar,
    paired_difference,
    sign_flips,
    signed_rank,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (5, 10), (49, 50), (3925, 3925), (1, 500)])
def test_wilson_equals_scipy(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_an_expected_score_lies_between_its_neighbors():
    low, high = wilson(7.5, 10)
    assert wilson(7, 10)[0] < low < wilson(8, 10)[0] and wilson(7, 10)[1] < high < wilson(8, 10)[1]


@pytest.mark.parametrize("n", [7, 30, 90, 360])
def test_wilson_ends_exactly_at_nothing_and_at_all(n):
    assert wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0


def test_wilson_of_nothing_is_unknown():
    assert all(map(math.isnan, wilson(0, 0)))


def test_mcnemar_counts_only_disagreements():
    first, second = [1] * 80 + [1] * 9 + [0] * 1, [1] * 80 + [0] * 9 + [1] * 1
    assert mcnemar(first, second) == pytest.approx(binomtest(9, 10).pvalue)
    assert mcnemar([1, 0], [1, 0]) == 1.0


def from_counts(both, gained, lost, neither):
    """Two 0/1 score vectors with these cells of the 2×2 table."""
    first = [1] * (both + gained) + [0] * (lost + neither)
    return np.array(first, float), np.array([1] * both + [0] * gained + [1] * lost + [0] * neither, float)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (9, 1, 22 / 1024),  # 2 (1 + 10) / 2^10
        (0, 5, 2 / 32),
        (3, 3, 1.0),
        (121, 59, 4.434444e-06),  # the example of statsmodels' mcnemar, exact=True
    ],
)
def test_mcnemar_and_sign_flips_by_hand(gained, lost, p):
    first, second = from_counts(40, gained, lost, 7)
    assert mcnemar(first, second) == pytest.approx(p, rel=1e-5)
    assert sign_flips(first, second) == pytest.approx(mcnemar(first, second), rel=1e-9)


def test_mcnemar_refuses_averages():
    with pytest.raises(EscrimeError, match="sign_flips"):
        mcnemar([1, 0.5], [0, 1])
    with pytest.raises(EscrimeError, match="paired"):
        mcnemar([1, 0], [0, 1, 1])


def test_sign_flips_count_every_choice_of_signs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 11) / 8, rng.integers(0, 6, 11) / 5  # 8 draws against 5
    difference = first - second
    signs = 1 - 2 * ((np.arange(2**11)[:, None] >> np.arange(11)) & 1)
    expected = np.mean(np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9)
    assert sign_flips(first, second) == pytest.approx(expected, rel=1e-9)
    assert sign_flips(first.astype(np.float32), second.astype(np.float32)) == pytest.approx(expected, rel=1e-9)


def test_first_of_draws_counts_every_choice_of_the_first():
    scores = np.array([[1, 1, 0.5, 1, 0], [0, 1, 0.25, 1, 0.5], [0.5, 0, 1, 1, 0]])
    sums = [sum(choice) for choice in product(*scores.T)]
    assert first_of_draws(scores) == pytest.approx(np.mean([one >= scores[0].sum() - 1e-9 for one in sums]))


def test_first_of_two_draws_is_one_side_of_sign_flips():
    first, second = np.array([1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 1, 0, 0, 0, 1])
    assert 2 * first_of_draws([first, second]) == pytest.approx(sign_flips(first, second))


def test_sign_flips_of_ranks_are_wilcoxons_test():
    difference = np.array([1, -2, 3, 4, 5, -6, 7, 8, 9, 10]) / 10  # what is compared are then the ranks themselves
    expected = wilcoxon(difference, method="exact").pvalue
    assert sign_flips(np.clip(difference, 0, 1), np.clip(-difference, 0, 1)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "most"), [(40, 0.11), (400, 0.075)])
def test_sign_flips_keep_their_level(n, most):
    """A deterministic model of 90 % against a noisy one, right on every image 9 times in 10: equal, and as skewed as can
    be, which costs some level on few images (0.08 for 0.05)."""
    rng = np.random.default_rng(1)
    certain = (rng.random((500, n)) < 0.9).astype(float)
    noisy = rng.binomial(8, 0.9, (500, n)) / 8
    alarms = np.mean([sign_flips(a, b) < 0.05 for a, b in zip(certain, noisy)])
    assert alarms <= most


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 2.0, 3.0],
        [1.0, -1.0, 0.0, 2.0, 2.0],
        [-3.0, 0.5, 0.5],
        [0.25] * 6 + [-0.5],
        [0.3],
        [-0.3, 0.0],
        list(np.linspace(-1, 2, 40)),
    ],
    ids=map(str, range(7)),
)
def test_signed_ranks_are_scipys(differences):
    assert signed_rank(differences) == pytest.approx(wilcoxon(differences, alternative="greater").pvalue, abs=1e-12)


def test_signed_ranks_of_a_dozen_with_ties_ask_scipy_nothing(monkeypatch):
    """There each of 2¹² choices of signs would be a call."""
    monkeypatch.setattr("escrime.results.statistics.wilcoxon", None)
    values = np.round(np.random.default_rng(0).normal(0.3, 1, 12), 1)
    assert signed_rank([*values, 0.0]) == signed_rank(values) and signed_rank(-values) > 0.5 > signed_rank(values) > 0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, float("nan"), 0.6]) == pytest.approx([1.0, float("nan"), 1.0], nan_ok=True)


def test_newcombes_paired_example():
    """36, 12, 2 and 0 of 50 pairs: the limits Newcombe (1998) gives for them."""
    difference = paired_difference(*from_counts(36, 12, 2, 0))
    assert difference.value == pytest.approx(0.2) and difference.n == 50
    assert (difference.low, difference.high) == pytest.approx((0.0569, 0.3404), abs=0.0002)
    assert paired_difference([], [])[3] == 0


def test_the_bootstrap_covers_the_mean_and_is_repeatable():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap(rng.normal(1.0, 2.0, 40), seed=trial, repeats=400)
        covered += low <= 1.0 <= high
    assert 0.87 <= covered / 200 <= 0.99  # percentile intervals of 40 values are a little short of 95 %
    values = rng.normal(size=30)
    assert bootstrap(values, 3) == bootstrap(values, 3) != bootstrap(values, 4)
    half_low, half_high = bootstrap(values, 3, confidence=0.5)
    low, high = bootstrap(values, 3)
    assert low < half_low < half_high < high


def population(name: str, n: int, rng) -> tuple[np.ndarray, np.ndarray, float]:
    """The chances of n images to be right under two randomized models, and the true mean difference."""
    sure = (rng.random(n) < 0.6) * 0.98 + 0.01
    if name == "identical":
        chances = rng.beta(0.5, 0.5, n)
        return chances, chances, 0.0
    if name == "rare and big":
        hit = rng.random(n) < 0.1
        return sure, np.where(hit, 0.01, sure), 0.1 * 0.6 * 0.98
    if name == "rare, of half":
        hit = rng.random(n) < 0.15
        return np.full(n, 0.7), np.where(hit, 0.2, 0.7), 0.15 * 0.5
    if name == "many small":
        chances = rng.uniform(0.3, 1, n)
        return chances, chances - rng.uniform(0, 0.2, n), 0.1
    return sure, 0.5 + 0.6 * (sure - 0.5), 0.4 * (0.6 * 0.98 + 0.01 - 0.5)  # "less sure": all go along, by other amounts


@pytest.mark.parametrize("n", [20, 100, 1000])
@pytest.mark.parametrize("name", ["identical", "rare and big", "rare, of half", "many small", "less sure"])
def test_a_paired_interval_of_averages_covers_the_truth(name, n):
    """Nineteen times in twenty, up to the chance of 300 trials; Newcombe's alone: .76 for rare and big, n = 20."""
    rng, held, trials = np.random.default_rng(n), {}, 300
    for draws in (8, 256):
        held[draws] = 0
        for _ in range(trials):
            first, second, truth = population(name, n, rng)
            found = paired_difference(rng.binomial(draws, first) / draws, rng.binomial(draws, second) / draws)
            assert found.low <= found.value <= found.high
            held[draws] += found.low <= truth <= found.high
    assert min(held.values()) / trials >= 0.93, held


def test_a_paired_interval_of_averages_is_never_empty_nor_beyond_the_possible():
    for n in (1, 2, 20):
        found = paired_difference(np.full(n, 0.5), np.full(n, 0.5))
        assert -1 <= found.low < 0 < found.high <= 1
    assert paired_difference([1.0, 1.0, 0.5], [0.0, 0.0, 0.0]).high <= 1
    zeros = np.zeros(100)
    assert paired_difference(zeros, zeros).high < 0.04, "0 and 1: Newcombe's, as published"
