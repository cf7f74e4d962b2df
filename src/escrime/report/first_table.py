"""The first table of the page: each model and defense, what is left of it in the worst case, and whether to believe that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..budgets import same
from ..norms import norm
from ..results.names import defense_name
from ..results.records import in_subset, worst_case
from ..results.statistics import wilson
from ..results.threats import ADAPTIVE, TRANSFER
from ..results.union import Union
from ..results.verdicts import Verdict
from .intervals import Point, proportion
from .run import Run


@dataclass(frozen=True)
class Line:
    """A row: the verdict of one model and defense, its number as a point, and what an attacker who ignores the defense leaves
    of the same images, where that was measured beside one who knows it. Of several norms the first verdict stands for all,
    with the number of their `union`."""

    verdict: Verdict
    robust: Point
    ignoring: Point | None
    union: Union | None = None

    @property
    def model(self) -> str:
        return self.verdict.model

    @property
    def defense(self) -> str:
        return defense_name(self.verdict.defense)

    @property
    def clean(self) -> Point:
        """What is right without attack, of the same images."""
        verdict = self.verdict
        return Point(0.0, verdict.clean, *wilson(verdict.clean * verdict.n, verdict.n), verdict.n)

    @property
    def eps(self) -> str:
        """As in: ε = 4/255, or any of 3 threats."""
        if self.union is not None:
            return f"any of {len(self.union.rows)} threats"
        return norm(self.verdict.norm).said(self.verdict.eps)

    @property
    def believe(self) -> bool:
        return (self.union or self.verdict).believe

    @property
    def reason(self) -> str:
        if self.union is not None:
            return "The threats one by one stand below."
        return self.verdict.reason[:1].upper() + self.verdict.reason[1:]


@dataclass(frozen=True)
class FirstTable:
    """`eps`: what all lines share, "" where they differ; transfer: whether any line has a point `ignoring`."""

    lines: list[Line]
    eps: str
    transfer: bool


def first_table(
    run: Run, judged: Mapping[str, Sequence[Verdict]], together: Mapping[str, Sequence[Union]] = MappingProxyType({})
) -> FirstTable:
    """The verdicts of a run as lines, models in its order, undefended first. together: of each model, its unions of norms."""
    lines: list[Line] = []
    for model in run.models:
        unions = {union.defense: union for union in together.get(model, ())}
        for verdict in judged[model]:
            if verdict.defense not in unions:
                lines.append(line(run, verdict))
            elif not any(made.union is unions[verdict.defense] for made in lines):
                lines.append(of_union(verdict, unions[verdict.defense]))
    budgets = {found.eps for found in lines}
    return FirstTable(lines, budgets.pop() if len(budgets) == 1 else "", any(found.ignoring for found in lines))


def line(run: Run, verdict: Verdict) -> Line:
    robust = Point(verdict.eps, verdict.accuracy, verdict.low, verdict.high, verdict.n)
    return Line(verdict, robust, ignoring(run, verdict) if verdict.threat == ADAPTIVE else None)


def of_union(verdict: Verdict, union: Union) -> Line:
    return Line(verdict, Point(verdict.eps, union.accuracy, union.low, union.high, union.n), None, union)


def ignoring(run: Run, verdict: Verdict) -> Point | None:
    """The worst case over the attacks made without the defense, on the images of the verdict that they were shown."""
    rows = in_subset(run.records, run.main_subset)
    own = (rows["model"] == verdict.model) & (rows["defense"] == verdict.defense) & (rows["norm"] == verdict.norm)
    worst = worst_case(rows[own])
    worst = worst[same(worst["eps"], verdict.eps)]
    judged = worst.loc[worst["threat"] == verdict.threat, "image"]
    scores = worst.loc[(worst["threat"] == TRANSFER) & worst["image"].isin(judged), "correct"]
    return proportion(scores.to_numpy(float), verdict.eps) if len(scores) else None
