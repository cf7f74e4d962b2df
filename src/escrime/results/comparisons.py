"""Two columns of the records on the same images: is one really better? And accuracy by class, and clean against robust.

A column is (model, defense, threat level), such as ("lenet", "ppa", "adaptive"), or the same with its attack as a fourth.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ..budgets import eps_text, epsilon, same
from ..errors import EscrimeError, nearest, shortened
from .records import KEYS, WORST
from .statistics import exact_test, holm, paired_difference, total, wilson

CASE = ["model", "defense", "threat"]
FEWEST = 10  # images of a class that says something


@dataclass(frozen=True)
class Comparison:
    """`first` against `second` on the `n` images both have, as fractions of 1.

    difference = accuracy_first − accuracy_second with its paired 95 % interval (low, high). gained: images `first` gets
    right and `second` wrong (for averages over draws: more often right), lost: the other way around. p: exact, two-sided;
    `test` names the test.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    eps: float
    n: int
    accuracy_first: float
    accuracy_second: float
    difference: float
    low: float
    high: float
    gained: int
    lost: int
    p: float
    test: str


def compare(
    records: pd.DataFrame, first: Sequence[str], second: Sequence[str], *, attack: str | None = None, eps: float | str
) -> Comparison:
    """Whether column `first` is more often right than `second` under `attack` at `eps`, image by image.

    0/1 scores: McNemar's exact test. Averages over noise draws: the exact test by sign flips, which is McNemar's for 0/1.
    For the worst case over attacks give `worst_case(records)` and attack="worst case".
    Errors: EscrimeError for a column, attack or ε without records (naming those there are), or without shared images.
    """
    a, b = _column(records, first, attack), _column(records, second, attack)
    eps = _eps(eps)
    comparison = _compare(a, b, eps, _scores(records, a, eps), _scores(records, b, eps))
    if not comparison.n:
        raise EscrimeError(
            f"{_named(a)} and {_named(b)} share no image at ε = {eps_text(eps)}; a paired test needs both on the same "
            "images, so evaluate them on the same data."
        )
    return comparison


def compare_all(records: pd.DataFrame, *, eps: float | str, attack: str | None = None) -> pd.DataFrame:
    """Every pair of columns under `attack` (every attack for None) at `eps`, one row each as in Comparison.

    `p_holm` is p corrected for the number of pairs. A pair without shared images has n = 0 and no p.
    """
    eps = _eps(eps)
    rows = records if attack is None else records[records["attack"] == attack]
    if rows.empty:
        raise EscrimeError(_unknown("attack", attack, records["attack"].unique()))
    at = rows[_at(rows, eps)]
    columns = list(dict.fromkeys(at[[*CASE, "attack"]].itertuples(index=False, name=None)))
    if not columns:
        raise EscrimeError(_unknown_eps(eps, rows))
    scores = {column: _scores(at, column, eps) for column in columns}
    pairs = [_compare(a, b, eps, scores[a], scores[b]) for a, b in combinations(columns, 2)]
    table = pd.DataFrame([vars(pair) for pair in pairs], columns=list(Comparison.__dataclass_fields__))
    return table.assign(p_holm=holm(table["p"]))


def per_class(records: pd.DataFrame) -> pd.DataFrame:
    """Accuracy with n and its Wilson interval per (model, defense, threat, attack, ε, class), as fractions."""
    rows = []
    for key, group in records.groupby([*KEYS, "label"], sort=False):
        right = total(group["correct"])
        low, high = wilson(right, len(group))
        shares = {"n": len(group), "accuracy": right / len(group), "low": low, "high": high}
        rows.append(dict(zip([*KEYS, "class"], key, strict=True)) | shares)
    table = pd.DataFrame(rows, columns=[*KEYS, "class", "n", "accuracy", "low", "high"])
    return table.sort_values([*KEYS, "class"], kind="stable", ignore_index=True)


def clearly_weaker(records: pd.DataFrame) -> set[int]:
    """The labels whose images are right less often than those of the other classes, beyond chance: of one model under one
    attack at one ε. Their Wilson interval, widened for the number of classes (Bonferroni), lies below that of all the others;
    a class of fewer than FEWEST images tells nothing."""
    total, by_label = float(records["correct"].sum()), records.groupby("label")["correct"].agg(["sum", "size"])
    confidence = 1 - 0.05 / max(len(by_label), 1)
    found = set()
    for label, right, n in by_label.itertuples():
        high = wilson(right, n, confidence)[1]
        if n >= FEWEST and n < len(records) and high < wilson(total - right, len(records) - n)[0]:
            found.add(int(label))
    return found


def tradeoff(records: pd.DataFrame, attack: str, eps: float | str) -> pd.DataFrame:
    """Clean against robust accuracy (under `attack` at `eps`) per (model, defense, threat), on the same images.

    With Wilson intervals, as fractions. Clean is the row at ε = 0; where none was recorded, whether the clean prediction
    is right (for a randomized model, its majority's).
    """
    eps = _eps(eps)
    rows = records[records["attack"] == attack]
    if rows.empty:
        raise EscrimeError(_unknown("attack", attack, records["attack"].unique()))
    if not _at(rows, eps).any():
        raise EscrimeError(_unknown_eps(eps, rows))
    table = []
    for case, attacked in rows[_at(rows, eps)].groupby(CASE, sort=False):
        robust = attacked.set_index("image")["correct"]
        clean_rows = attacked.set_index("image")[["clean_prediction", "label"]]
        known = records[(records["model"] == case[0]) & (records["defense"] == case[1]) & (records["eps"] == 0)]
        own = (known["threat"] == case[2]) & (known["attack"] == attack)
        known = (
            pd.concat([known[own], known[~own]]).drop_duplicates("image").set_index("image")["correct"].reindex(robust.index)
        )
        clean = known.fillna((clean_rows["clean_prediction"] == clean_rows["label"]).astype(float))
        row = dict(zip(CASE, case, strict=True)) | {"n": len(robust)}
        for name, scores in (("clean", clean), ("robust", robust)):
            low, high = wilson(scores.sum(), len(scores))
            row |= {name: scores.mean(), f"{name}_low": low, f"{name}_high": high}
        table.append(row)
    return pd.DataFrame(table)


def _compare(first: tuple[str, ...], second: tuple[str, ...], eps: float, a: pd.Series, b: pd.Series) -> Comparison:
    images = a.index.intersection(b.index)
    a, b = a[images].to_numpy(float), b[images].to_numpy(float)
    if not len(images):
        unknown = float("nan")
        return Comparison(first, second, eps, 0, unknown, unknown, *(unknown,) * 3, 0, 0, unknown, "none")
    value, low, high, n = paired_difference(a, b)
    test, p = exact_test(a, b)
    more, less = int((a > b + 1e-6).sum()), int((a < b - 1e-6).sum())
    return Comparison(first, second, eps, n, float(a.mean()), float(b.mean()), value, low, high, more, less, p, test)


def _column(records: pd.DataFrame, column: Sequence[str], attack: str | None) -> tuple[str, ...]:
    """The column with its attack, if the records have it."""
    if isinstance(column, str) or len(column) not in (3, 4):
        raise EscrimeError(f"column {column!r} is not (model, defense, threat); add the attack as a fourth if you like.")
    case = tuple(column[:3])
    rows = records
    for name, value in zip(CASE, case, strict=True):
        there = rows[name].unique()
        rows = rows[rows[name] == value]
        if rows.empty:
            raise EscrimeError(f"column {case!r}: " + _unknown(name, value, there))
    label = column[3] if len(column) == 4 else attack
    if label is None:
        raise EscrimeError(f"column {case!r} names no attack; give attack=..., one of {_list(rows['attack'].unique())}.")
    if not (rows["attack"] == label).any():
        hint = f" For {WORST!r} give worst_case(records)." if str(label).startswith(WORST) else ""
        raise EscrimeError(f"column {case!r}: " + _unknown("attack", label, rows["attack"].unique()) + hint)
    return (*case, label)


def _scores(records: pd.DataFrame, column: tuple[str, ...], eps: float) -> pd.Series:
    """`correct` by image."""
    mask = np.logical_and.reduce([records[name] == value for name, value in zip([*CASE, "attack"], column, strict=True)])
    rows = records[mask]
    at = rows[_at(rows, eps)]
    if at.empty:
        raise EscrimeError(f"{_named(column)}: " + _unknown_eps(eps, rows))
    scores = at.set_index("image")["correct"]
    if scores.index.has_duplicates:
        raise EscrimeError(
            f"the records hold image {scores.index[scores.index.duplicated()][0]!r} twice for {_named(column)} at "
            f"ε = {eps_text(eps)}, and a pair needs one answer each; choose one run's records with one norm."
        )
    return scores


def _at(records: pd.DataFrame, eps: float) -> pd.Series:
    return same(records["eps"], eps)


def _eps(eps: float | str) -> float:
    if isinstance(eps, str):
        return epsilon(eps, math.inf)  # of whatever norm the records are
    return float(eps)


def _named(column: tuple[str, ...]) -> str:
    return " / ".join(map(str, column))


def _unknown_eps(eps: float, rows: pd.DataFrame) -> str:
    return f"ε = {eps_text(eps)} was not measured; the records hold {_list(map(eps_text, sorted(rows['eps'].unique())))}."


def _unknown(what: str, value: object, there: Iterable[object]) -> str:
    words = [str(name) for name in there]
    return f"{what} {value!r} is not in these records; they hold {_list(words)}.{nearest(value, words)}"


def _list(words: Iterable[object]) -> str:
    return shortened(dict.fromkeys(map(str, words)), 20) or "none"
