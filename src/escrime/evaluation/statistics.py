"""Intervals and paired tests: every accuracy escrime prints goes through here."""

from math import sqrt

from scipy.stats import binomtest, norm


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, as fractions (low, high); (nan, nan) for n = 0.

    `successes` may be fractional: a randomized model scores each image by its expected correctness, whose variance over
    images is at most that of a 0/1 score with the same mean, so the interval is then conservative.
    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    if n == 0:
        return float("nan"), float("nan")
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def mcnemar(first, second) -> float:
    """Exact two-sided p-value that two classifiers scored on the same images (0/1 per image) are equally accurate.

    Source: McNemar (1947); the exact form is the binomial test on the images where the two disagree.
    """
    gained = int(sum((a > b) for a, b in zip(first, second, strict=True)))
    lost = int(sum((a < b) for a, b in zip(first, second, strict=True)))
    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)
