"""Records as curves, one per attack and case, and what checks on them share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypedDict, TypeVarTuple

import pandas as pd

from ...budgets import unified
from ...no_class import NO_TARGET
from ..findings import Finding
from ..manners import manner_of
from ..records import STRONGER, WORST
from ..statistics import Difference, paired_difference, sign_flips
from ..threats import TRANSFER

NOTABLE = 0.05  # a difference of accuracies counts from here,
FEWEST = 3  # on at least this many images

Rest = TypeVarTuple("Rest")


class About(TypedDict):
    """What a curve is about, as a Finding takes it."""

    model: str
    defense: str
    threat: str
    norm: str


@dataclass(frozen=True, eq=False)
class Curve:
    """One attack on one case: ε → its rows, by image, for every ε above 0, ascending. masked: only some pixels could change."""

    model: str
    defense: str
    threat: str
    norm: str
    attack: str
    targeted: bool
    manner: str
    at: dict[float, pd.DataFrame]
    masked: bool = False

    @property
    def case(self) -> tuple[str, str, str, str]:
        return self.model, self.defense, self.threat, self.norm

    @property
    def about(self) -> About:
        return About(model=self.model, defense=self.defense, threat=self.threat, norm=self.norm)

    @property
    def iterated(self) -> bool:
        """Whether it takes many steps away from the truth, so that no single step should do better."""
        return self.manner == "iterated" and not self.targeted

    @property
    def known(self) -> bool:
        """Whether its gradients are those of the model that is scored."""
        return self.threat != TRANSFER

    @property
    def stronger(self) -> bool:
        return self.attack.startswith(STRONGER)

    def accuracy(self, eps: float) -> float:
        return float(self.at[eps]["correct"].mean())


def read_curves(records: pd.DataFrame, manners: dict[str, str] | None = None, masked: bool = False) -> list[Curve]:
    """The attacked rows as curves; the worst case over attacks is derived from them, and is none. manners: what each attack is,
    by its label, None for records of a version that did not record it (see `manner_of`). masked: see Curve."""
    rows = records[(records["eps"] > 0) & (records["attack"] != "none") & ~records["attack"].str.startswith(WORST)]
    rows = rows.assign(eps=unified(rows["eps"]))
    curves = []
    for key, own in rows.groupby(["model", "defense", "threat", "norm", "attack"], sort=False):
        at = {float(eps): part.drop_duplicates("image").set_index("image") for eps, part in own.groupby("eps")}
        model, defense, threat, norm, label = map(str, key)
        targeted = bool((own["target"] != NO_TARGET).any())
        curves.append(Curve(model, defense, threat, norm, label, targeted, manner_of(label, manners), at, masked))
    return curves


def by_case(curves: list[Curve]) -> Iterator[list[Curve]]:
    """The curves of each (model, defense, threat, norm)."""
    order = sorted(curves, key=lambda curve: curve.case)
    return (list(group) for _, group in groupby(order, key=lambda curve: curve.case))


def has_stronger(curves: list[Curve]) -> bool:
    return any(curve.stronger for curve in curves)


def score_difference(first: pd.DataFrame, second: pd.DataFrame, score: str = "correct") -> tuple[Difference, float]:
    """score of first − score of second on the images both have, with its interval, and the exact p."""
    images = first.index.intersection(second.index)
    a, b = first.loc[images, score].to_numpy(float), second.loc[images, score].to_numpy(float)
    return paired_difference(a, b), sign_flips(a, b) if len(images) else 1.0


def per_case(rows: list[tuple[Curve, *Rest]], describe: Callable[[list[tuple[Curve, *Rest]]], Finding]) -> list[Finding]:
    """One finding per case from rows that each begin with a curve of it."""
    order = sorted(rows, key=lambda row: row[0].case)
    return [describe(list(group)) for _, group in groupby(order, key=lambda row: row[0].case)]
