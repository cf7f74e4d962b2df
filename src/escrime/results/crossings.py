"""Where a worst case lies above one of its own attacks, and why."""

from dataclasses import dataclass

import pandas as pd

from ..budgets import eps_text, within
from .names import defense_name
from .records import shows_chance
from .statistics import share_text
from .threats import TRANSFER

LEAST = 1e-9  # accuracies nearer than this are equal: sums of the same scores in another order


@dataclass(frozen=True)
class Crossing:
    """`attack` at `at` leaves `single` of its `seen` images right, the worst case up to `eps` leaves `worst` of `n`; chance: by
    the draws of a randomized model, on the same images; else since the attack was run on others too."""

    defense: str
    threat: str
    eps: float
    worst: float
    n: int
    attack: str
    at: float
    single: float
    seen: int
    chance: bool

    @property
    def sentence(self) -> str:
        """What a reader who sees both numbers must know."""
        where = ", ".join(([] if self.defense == "none" else [defense_name(self.defense)]) + [self.threat])
        both = (
            f"The worst case ({where}) is {share_text(self.worst)} up to ε = {eps_text(self.eps)} though {self.attack} leaves "
            f"{share_text(self.single)} at ε = {eps_text(self.at)}"
        )
        if self.chance:
            return (
                f"{both}: which attack counts for an image is chosen by other noise draws than those that score it, for else "
                "every lucky miss would be kept; the two differ by the chance of these draws."
            )
        return f"{both}: it is of the {self.n} images that every attack was run on, and {self.attack} saw {self.seen}."


def crossings(records: pd.DataFrame, worst: pd.DataFrame) -> list[Crossing]:
    """The widest of each (model, defense, threat level, norm) where the worst case lies above an attack at no larger ε.

    worst: `worst_case(records)`. On the same images of a deterministic model there is none. A randomized one is judged by
    the same noise under every attack, so that what its attacks have in common is not a matter of luck; but the draws that
    choose are not those that score (see `worst_case`), and the smaller of two such estimates would be too small on average:
    then both are shown, with the reason.
    """
    found = []
    for (model, defense, threat, norm), own_worst in worst[worst["eps"] > 0].groupby(
        ["model", "defense", "threat", "norm"], sort=False
    ):
        rows = records[(records["model"] == model) & (records["defense"] == defense)]
        random = shows_chance(rows)
        rows = rows[rows["threat"].isin([threat, TRANSFER]) & (rows["norm"] == norm) & (rows["eps"] > 0)]
        singles = [(*key, own) for key, own in rows.groupby(["attack", "eps"], sort=False)]
        widest: Crossing | None = None
        for eps, here in own_worst.groupby("eps"):
            level, images = float(here["correct"].mean()), set(here["image"])
            for attack, at, own in singles:
                for _, seen in own.groupby("threat", sort=False) if within(at, eps) else ():
                    single = float(seen["correct"].mean())
                    if single < level - LEAST and (widest is None or level - single > widest.worst - widest.single):
                        shared = seen[seen["image"].isin(images)]
                        chance = random and len(shared) and float(shared["correct"].mean()) < level - LEAST
                        place = (str(defense), str(threat), float(eps), level, len(here), str(attack), float(at))
                        widest = Crossing(*place, single, len(seen), bool(chance))
        if widest is not None:
            found.append(widest)
    return found
