"""Several threats at once: an attacker who may choose, for every image, any of the norms that a model was judged in."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ..budgets import same
from ..norms import norm
from .names import defended
from .records import in_subset, worst_case
from .statistics import share_text, total, wilson
from .verdicts import Verdict


@dataclass(frozen=True)
class ThreatRow:
    """What one threat does to the images that all threats were tried on.

    Args:
        norm: Its name.
        eps: Its ε.
        accuracy: What it leaves, with the 95 % interval (low, high), over n images.
        alone: Images that it fools the model with and no other threat does.
        passes: Network passes of all its attacks at ε for each image that they fool it with; None for no image, and where an
            attack does not tell. What is wrong without attack does not count.
        believe: Whether its verdict is to be believed.
    """

    norm: str
    eps: float
    accuracy: float
    low: float
    high: float
    n: int
    alone: int
    passes: float | None
    believe: bool

    @property
    def name(self) -> str:
        """As in: l_inf, ε = 4/255."""
        return norm(self.norm).named(self.eps)


@dataclass(frozen=True)
class Union:
    """What is left of a model (or of one with a defense) when the attacker chooses among `rows`, the cheapest threat first.

    accuracy with its 95 % interval (low, high) over the n images that all threats were tried on.
    """

    model: str
    defense: str
    threat: str
    subset: str
    accuracy: float
    low: float
    high: float
    n: int
    rows: tuple[ThreatRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"believe": self.believe, "sentence": self.sentence}

    @property
    def believe(self) -> bool:
        """Whether every threat's own number is to be believed, or one that leaves nothing is: then no other can leave less."""
        return self._nothing_left or all(row.believe for row in self.rows)

    @property
    def _nothing_left(self) -> bool:
        return any(row.believe and row.accuracy == 0 for row in self.rows)

    @property
    def sentence(self) -> str:
        named = "; ".join(row.name for row in self.rows)
        number = (
            f"{defended(self.model, self.defense)} keeps {share_text(self.accuracy)} of {self.n} "
            f"{f'{self.subset} ' if self.subset else ''}images right whichever threat the attacker chooses for each: {named} "
            f"(95 % interval {self.low:.1%} to {self.high:.1%})"
        )
        unsure = [norm(row.norm).title for row in self.rows if not row.believe and not self._nothing_left]
        lower = "it may be lower, for " if self.accuracy > 0 else ""
        return f"{number}; {lower}the number of {', '.join(unsure)} may not be believed." if unsure else f"{number}."


def unions(records: pd.DataFrame, verdicts: Sequence[Verdict]) -> list[Union]:
    """One for every model and defense (in the order of the verdicts) that was judged in several norms, of the first subset.

    For a randomized model the threat of an image is chosen by the draws that choose its attack, and scored by those that score
    it (see `worst_case`).

    Args:
        records: Of an evaluation or a run.
        verdicts: Of the same, which say at which ε each norm is judged.

    Returns:
        The unions; [] where every model was judged in one norm.
    """
    cases: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        cases.setdefault((verdict.subset, verdict.model, verdict.defense, verdict.threat), []).append(verdict)
    found, worst = [], {}
    for (subset, model, defense, threat), own in cases.items():
        if len(own) > 1:
            if subset not in worst:
                worst[subset] = worst_case(in_subset(records, subset or None))
            at_level = worst[subset][worst[subset]["threat"] == threat]
            made = _union(_of(records, model, defense), _of(at_level, model, defense), own)
            found += [made] if made.n else []
    return found


def _of(records: pd.DataFrame, model: str, defense: str) -> pd.DataFrame:
    return records[(records["model"] == model) & (records["defense"] == defense)]


def _union(records: pd.DataFrame, worst: pd.DataFrame, verdicts: Sequence[Verdict]) -> Union:
    by_norm = {v.norm: worst[(worst["norm"] == v.norm) & same(worst["eps"], v.eps)].set_index("image") for v in verdicts}
    images = pd.Index([])
    for at, rows in enumerate(by_norm.values()):
        images = rows.index if at == 0 else images.intersection(rows.index)
    scores = pd.DataFrame({name: rows["correct"].reindex(images) for name, rows in by_norm.items()})
    chosen_by = pd.DataFrame({name: rows["preliminary"].reindex(images) for name, rows in by_norm.items()})
    least = chosen_by.to_numpy(float).argmin(1) if len(images) else []
    left = scores.to_numpy(float)[range(len(images)), least]
    first, right = verdicts[0], total(left)
    low, high = wilson(right, len(left))
    rows = [_row(verdict, scores, records[records["image"].isin(images)]) for verdict in verdicts]
    rows.sort(key=lambda row: (row.passes is None, row.passes))
    case = (first.model, first.defense, first.threat, first.subset)
    return Union(*case, right / max(len(left), 1), low, high, len(left), tuple(rows))


def _row(verdict: Verdict, scores: pd.DataFrame, records: pd.DataFrame) -> ThreatRow:
    own, others = scores[verdict.norm], scores.drop(columns=verdict.norm)
    right = total(own)
    low, high = wilson(right, len(own))
    alone = int(((own < 0.5) & (others >= 0.5).all(axis=1)).sum())  # so not one that is wrong without attack
    attacked = records[(records["norm"] == verdict.norm) & same(records["eps"], verdict.eps)]
    before = records.drop_duplicates("image").set_index("image")
    before = (before["clean_prediction"] == before["label"]).reindex(own.index)
    fooled, spent = float((1 - own)[before].sum()), (attacked["forwards"] + attacked["backwards"]).sum(skipna=False)
    passes = float(spent) / fooled if fooled > 0 and spent == spent else None
    return ThreatRow(verdict.norm, verdict.eps, right / max(len(own), 1), low, high, len(own), alone, passes, verdict.believe)
