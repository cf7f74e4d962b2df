"""Intervals and paired tests: every accuracy escrime prints goes through here."""

from collections.abc import Callable, Iterable
from math import fsum, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, binomtest, norm, rankdata, t, wilcoxon

from ..errors import EscrimeError

FINEST = 128  # the finest step of a score that sign_flips keeps apart: up to that many noise draws are exact

FEW = 13  # differences whose signs are all tried: 2¹³ ways


class Difference(NamedTuple):
    """A difference of two shares with its interval, as fractions of 1, over n images."""

    value: float
    low: float
    high: float
    n: int


def p_text(p: float, name: str = "") -> str:
    """0.0312 → "0.031", "< 0.001" below that; with a name "p = 0.031", "p < 0.001"."""
    number = "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return number if not name else f"{name} {number}" if p < 0.001 else f"{name} = {number}"


def share_text(value: float) -> str:
    """0.9777 → "97.8%"; nearly all is not all: 0.9998 → "> 99.9%", 0.0002 → "< 0.1%"."""
    if 0.9995 <= value < 1 - 1e-9:
        return "> 99.9%"
    return "< 0.1%" if 1e-9 < value < 0.0005 else f"{value:.1%}"


def total(scores: Iterable[float]) -> float:
    """Their sum, the same float in whatever order they come: one number stands once, in a table, a verdict and a file."""
    return fsum(scores)


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, as fractions (low, high); (nan, nan) for n = 0.

    With p = successes/n and z the normal quantile (1.96 for 95 %) its ends are
    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).

    `successes` may be fractional: a randomized model scores each image by its expected correctness, whose variance over
    images is at most that of a 0/1 score with the same mean, so the interval is then conservative.
    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Args:
        successes: how many of the n are right, from 0 to n.
        n: how many there are.
        confidence: of the interval, between 0 and 1.

    Returns:
        (low, high), fractions of 1.

    Raises:
        EscrimeError: for a confidence that is no share below 1.
    """
    if not 0 < confidence < 1:
        raise EscrimeError(f"confidence = {confidence!r} is no share; give a number between 0 and 1, such as 0.95.")
    if n == 0:
        return float("nan"), float("nan")
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    # exactly 0 and 1 at the ends, where rounding would leave 3e-17
    return 0.0 if p <= 0 else max(0.0, center - half), 1.0 if p >= 1 else min(1.0, center + half)


def paired_difference(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Difference:
    """mean(first) − mean(second) over the images both scored (scores in [0, 1], NaN = not measured), with its interval.

    Wilson limits of each share, squared and added with the correlation of the pairs, so that the interval is neither
    empty at 0 % and 100 % nor as wide as for two unrelated samples. Source: Newcombe (1998), Improved confidence
    intervals for the difference between binomial proportions based on paired data, method 8.

    That counts on scores of 0 and 1. Averages over the draws of a randomized model correlate in other ways, and the more
    draws the less the interval holds: for them it is the wider, on either side, of this one and the t interval of the
    differences per image. Their spread holds that of the images and that of the draws. Four more images count in it, two that
    only the first gets right and two that only the second does, so that it is not empty where none of few images happened
    to differ, nor too short where few did. Source: Bonett and Price (2012), Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data; there two more images, for scores of 0 and 1, which held 93 times
    in 100 in simulation where one image in twenty differs by much.
    """
    ours, theirs = np.asarray(first, float), np.asarray(second, float)
    both = ~(np.isnan(ours) | np.isnan(theirs))
    ours, theirs = ours[both], theirs[both]
    n = len(ours)
    if not n:
        return Difference(float("nan"), float("nan"), float("nan"), 0)
    a, b = float(ours.mean()), float(theirs.mean())
    (a_low, a_high), (b_low, b_high) = (wilson(float(scores.sum()), n, confidence) for scores in (ours, theirs))
    spread = ours.std() * theirs.std()
    phi = float(((ours - a) * (theirs - b)).mean() / spread) if spread > 1e-12 else 0.0
    down, up = (a - a_low, b_high - b), (a_high - a, b - b_low)
    reach = [max(x * x - 2 * phi * x * y + y * y, 0.0) ** 0.5 for x, y in (down, up)]
    low, high = a - b - reach[0], a - b + reach[1]
    if not np.isin([ours, theirs], (0, 1)).all():
        differences = np.append(ours - theirs, (1.0, 1.0, -1.0, -1.0))
        center = float(differences.mean())
        half = float(t.ppf(0.5 + confidence / 2, n + 3) * differences.std(ddof=1)) / sqrt(n + 4)
        low, high = min(low, center - half), max(high, center + half)
    return Difference(a - b, max(-1.0, low), min(1.0, high), n)


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p-value that two classifiers scored on the same images (0/1 per image) are equally accurate.

    With b images that only the first gets right and c that only the second does, it is the two-sided binomial test of b among
    b + c at 1/2: p = min(1, 2 Σₖ C(b + c, k) / 2^(b + c)), k from max(b, c) to b + c; 1 where they never differ.
    Source: McNemar (1947), Note on the sampling error of the difference between correlated proportions or percentages.

    Args:
        first: (N,) scores of one classifier, 0 or 1.
        second: (N,) those of the other on the same images.

    Returns:
        The p-value.

    Raises:
        EscrimeError: for scores between 0 and 1, and for images that only one of them was scored on.
    """
    first, second = _pairs(first, second)
    if not np.isin([first, second], (0, 1)).all():
        raise EscrimeError(
            "McNemar's test needs scores of 0 or 1, and some lie between; use sign_flips for averages over draws."
        )
    gained, lost = int((first > second).sum()), int((first < second).sum())
    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)


def exact_test(first: ArrayLike, second: ArrayLike) -> tuple[str, float]:
    """(name, two-sided p) of the exact paired test for such scores: McNemar's for 0/1, sign flips for averages over draws."""
    if np.isin(np.concatenate(_pairs(first, second)), (0, 1)).all():
        return "McNemar, exact", mcnemar(first, second)
    return "sign flips, exact", sign_flips(first, second)


def sign_flips(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p-value for scores between 0 and 1, such as averages over the noise draws of a randomized model.

    The sum of the differences per image is compared with the sums under every choice of their signs, all 2ⁿ of them
    counted by convolution. For 0/1 scores this is McNemar's exact test; a majority vote per image would throw away how
    often each image falls, and an image that falls 4 times in 10 would count as safe. Exact where the two scores of an
    image are exchangeable; for no more than equal means it holds as n grows (a certain model against a noisy one, both
    right 90 times in 100: 8 false alarms in 100 at p < 0.05 on 40 images, 5 on 400). Scores are multiples of 1/k (k
    draws, found from the scores); finer ones than 1/FINEST are rounded to that, which keeps the test exact.
    Sources: Fisher (1935), The design of experiments, section 21; Romano (1990), On the behavior of randomization tests
    without a group invariance assumption.
    """
    first, second = _pairs(first, second)
    difference = np.rint((first - second) * _step(np.concatenate([first, second]))).astype(int)
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    # chance[w]: that the differences counted so far, each kept with chance 1/2, sum to w.
    chance = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist()):
        longer = np.zeros(len(chance) + size * count)
        for kept, weight in enumerate(binom.pmf(np.arange(count + 1), count, 0.5)):
            longer[kept * size : kept * size + len(chance)] += weight * chance
        chance = longer
    gained, lost = int(difference[difference > 0].sum()), int(-difference[difference < 0].sum())
    return min(1.0, 2 * float(chance[max(gained, lost) :].sum()))


def first_of_draws(scores: ArrayLike) -> float:
    """Exact one-sided p-value that the first of several draws of the same images is no higher than the others.

    Under the hypothesis any of an image's scores could as well have come first. The distribution of their sum over images, each
    of which picks one of its own scores, is counted by convolution; with two draws it is half of `sign_flips`.
    Source: Fisher (1935), The design of experiments, section 21.

    Args:
        scores: (draws, n), between 0 and 1: multiples of 1/k, found from the scores; finer ones than 1/FINEST are rounded.

    Returns:
        The chance of a sum as high as that of the first draw, or higher.
    """
    scores = np.asarray(scores, float)
    whole = np.rint(scores * _step(scores)).astype(int)
    chance = np.ones(1)
    for own in whole.T:
        longer = np.zeros(len(chance) + own.max())
        for value in own:
            longer[value : value + len(chance)] += chance / len(own)
        chance = longer
    return min(1.0, float(chance[whole[0].sum() :].sum()))


def _step(scores: np.ndarray) -> int:
    """The smallest k of which all scores are multiples of 1/k, FINEST where there is none below it."""
    return next((k for k in range(1, FINEST) if np.abs(scores * k - np.rint(scores * k)).max(initial=0) < 1e-5 * k), FINEST)


def signed_rank(differences: ArrayLike) -> float:
    """One-sided p-value that differences (N,) lie above 0, by their ranks, as scipy's wilcoxon(alternative="greater") has it.

    For few of them every choice of signs is counted, which scipy does too where two are alike or one is 0, but one by one: half
    a second for twelve images. Source: Wilcoxon (1945), Individual comparisons by ranking methods.
    """
    values = np.asarray(differences, float)
    if len(values) > FEW:
        return float(wilcoxon(values, alternative="greater").pvalue)
    values = values[values != 0]
    ranks = rankdata(np.abs(values))
    flips = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
    return float((flips @ ranks >= ranks[values > 0].sum()).mean())


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values corrected for their number, so that one false alarm among them all is as rare as in one test; NaN stays.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p_values, float)
    corrected, order = np.full(len(p), np.nan), np.argsort(p)  # NaN sorts last
    tests = int((~np.isnan(p)).sum())
    rising = np.maximum.accumulate(p[order[:tests]] * np.arange(tests, 0, -1))
    corrected[order[:tests]] = np.minimum(rising, 1.0)
    return corrected


def bootstrap(
    values: ArrayLike,
    seed: int,
    statistic: Callable[..., np.ndarray] = np.mean,
    repeats: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of statistic(values, axis=…) over the first axis of `values`, the images.

    Source: Efron (1979), Bootstrap methods: another look at the jackknife.
    """
    import torch  # here: the report reads records without it

    from ..randomness import generator

    values, tail = np.asarray(values), 50 * (1 - confidence)
    draws = torch.randint(len(values), (repeats, len(values)), generator=generator(seed, "bootstrap")).numpy()
    low, high = np.percentile(statistic(values[draws], axis=1), [tail, 100 - tail])
    return float(low), float(high)


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or np.isnan([first, second]).any():
        raise EscrimeError(
            f"a paired test got {first.size} and {second.size} scores, or some not measured; give both for the same images."
        )
    return first, second
