"""Which point of a grid to choose: accuracies with intervals, the Pareto front, and the one-standard-error rule.

Numbers only, from per-image scores; `tuning` measures them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .statistics import paired_difference, sign_flips, wilson
from .threats import ADAPTIVE, DEFENDED, TRANSFER

Point = tuple[float, int]  # (ε_max, N)
UNDEFENDED: Point = (0.0, 1)  # one copy without noise is the network as it is, and the cheapest point of all
CONDITIONS = ("clean", *DEFENDED)
CLOSE = 1e-12

RULE = (
    "Highest mean of clean and attacked accuracy. Of the settings that are not below the best by more than one standard error "
    "of the paired difference, the cheapest: smallest N, then smallest ε_max; the undefended network (N = 1) is one of them."
)


@dataclass(frozen=True)
class Choice:
    """`best`: the point with the highest mean score; `chosen`: the cheapest that is as good. behind: how far `chosen` lies
    below `best`, with the standard error of that paired difference; gain: `best` − undefended, likewise; as fractions."""

    best: Point
    chosen: Point
    behind: tuple[float, float]
    gain: tuple[float, float]

    @property
    def worth_it(self) -> bool:
        """Whether any setting beats the undefended network by more than one standard error."""
        return self.chosen != UNDEFENDED

    @property
    def candidate(self) -> Point:
        """What deserves a second look on other images: the chosen setting, or the best where none is worth its cost."""
        return self.chosen if self.worth_it else self.best


def scores_by_point(records: pd.DataFrame) -> dict[Point, pd.DataFrame]:
    """{(ε_max, N): scores by image (rows) and condition (columns)}, from records as `tuning_parts` gives them."""
    groups = records.groupby(["eps_max", "samples"])
    return {(float(e), int(n)): group.pivot(index="image", columns="condition", values="correct") for (e, n), group in groups}


def attacked(scores: pd.DataFrame, against: str) -> pd.Series:
    """Per-image scores under the attack that counts.

    against="transfer": the attack that ignores the defense. "adaptive": of the two attacks the one with the lower mean, for
    who knows the defense may also ignore it.
    """
    if against == ADAPTIVE and scores[ADAPTIVE].mean() <= scores[TRANSFER].mean():
        return scores[ADAPTIVE]
    return scores[TRANSFER]


def objective(scores: pd.DataFrame, against: str) -> pd.Series:
    """Per-image mean of the clean and the attacked score: what is maximized."""
    return (scores["clean"] + attacked(scores, against)) / 2


def choose(scores: dict[Point, np.ndarray]) -> Choice:
    """Apply RULE to per-image scores (n,) of every point, the undefended network among them, all of the same images.

    Source of the one-standard-error rule: Breiman, Friedman, Olshen and Stone (1984), Classification and regression trees.
    """
    cheapest_first = sorted(scores, key=lambda point: (point[1], point[0]))
    best = max(cheapest_first, key=lambda point: round(float(np.mean(scores[point])), 12))  # of equals, the first

    def below(point: Point) -> tuple[float, float]:
        return mean_and_error(np.asarray(scores[best], float) - np.asarray(scores[point], float))

    chosen = next(point for point in cheapest_first if below(point)[0] <= below(point)[1] + CLOSE)
    return Choice(best, chosen, below(chosen), below(UNDEFENDED))


def pareto_front(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Which points (first, second), each (n,), no other beats: at least as high in both and higher in one; (n,) bool."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    reaches = (first[:, None] >= first - CLOSE) & (second[:, None] >= second - CLOSE)  # [i, j]: i is as good as j in both
    exceeds = (first[:, None] > first + CLOSE) | (second[:, None] > second + CLOSE)
    beaten: np.ndarray = np.any(reaches & exceeds, axis=0)
    return ~beaten


def table_of(records: pd.DataFrame, against: str, choice: Choice) -> pd.DataFrame:
    """One row per point, the undefended network first: n, accuracy and 95 % Wilson interval per condition and attacked, the
    mean that is maximized, and whether it lies on the front, is the best, is chosen."""
    rows = []
    for point, scores in scores_by_point(records).items():
        row = {"defense": "none" if point == UNDEFENDED else "ppa", "eps_max": point[0], "samples": point[1], "n": len(scores)}
        for name, values in [*((name, scores[name]) for name in CONDITIONS), ("attacked", attacked(scores, against))]:
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), share(values)))
        row |= {
            "mean": float(objective(scores, against).mean()),
            "best": point == choice.best,
            "chosen": point == choice.chosen,
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(front=pareto_front(table["clean"], table["attacked"]))


def share(scores: pd.Series) -> tuple[float, float, float]:
    """The mean of per-image scores and its 95 % Wilson interval."""
    return float(np.mean(scores)), *wilson(float(np.sum(scores)), len(scores))


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of (n,) values and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def paired(first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """`first` − `second`, per-image scores (n,) of the same images: the difference, its standard error, its paired 95 %
    interval (wide for scores between 0 and 1, see `wilson`), and the exact two-sided p of `sign_flips`."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    value, low, high, n = paired_difference(first, second)
    error = mean_and_error(first - second)[1]
    return {"n": n, "difference": value, "standard_error": error, "low": low, "high": high, "p": sign_flips(first, second)}
