"""One attack on one defended model over ε: per-image scores, and the accuracies with intervals read from them."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..budgets import same, unified
from ..errors import EscrimeError
from ..no_class import NO_TARGET
from ..results.rows import held_twice
from .intervals import Point, difference, proportion

COLUMNS = ["model", "defense", "threat", "attack", "eps", "image", "subsets"]
COLUMNS += ["target", "prediction", "confidence", "correct", "hit", "draws"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Scores (E, n) per ε and image, NaN where an image was not measured at that ε; `eps` (E,) ascends.

    The first ε is 0, the clean image, whenever clean rows exist for this model and defense.
    """

    model: str
    defense: str
    threat: str
    attack: str
    eps: np.ndarray
    images: np.ndarray
    subsets: np.ndarray
    correct: np.ndarray
    hit: np.ndarray
    confidence: np.ndarray
    target: int
    draws: int

    def within(self, subset: str | None) -> "Sweep":
        """The same sweep over the images of one subset; all images for None."""
        if subset is None:
            return self
        return self.keep(np.array([subset in names.split(" ") for names in self.subsets], dtype=bool))

    def shared_with(self, other: "Sweep") -> "Sweep":
        """The same sweep over the images `other` has too: an expensive attack may have seen only some of them."""
        return self.keep(np.isin(self.images, other.images))

    def keep(self, keep: np.ndarray) -> "Sweep":
        """The same sweep over the images marked in `keep` (n,) bool."""
        cut = {name: getattr(self, name)[keep] for name in ("images", "subsets")}
        measured = ~np.isnan(self.correct[:, keep]).all(axis=1)
        rows = measured if measured.any() else slice(None)  # an ε none of these images was measured at is not part of it
        cut |= {name: getattr(self, name)[rows][:, keep] for name in ("correct", "hit", "confidence")}
        return replace(self, eps=self.eps[rows], **cut)

    @property
    def n(self) -> int:
        """Images measured at every ε (the smallest count)."""
        return int((~np.isnan(self.correct)).sum(axis=1).min()) if self.correct.size else 0

    @property
    def targeted(self) -> bool:
        return self.target != NO_TARGET

    def index(self, eps: float) -> int:
        """The position of the measured ε nearest to `eps`."""
        return int(np.abs(self.eps - eps).argmin())

    def point(self, position: int, score: str = "correct") -> Point:
        """The share of `score` ("correct" or "hit") at the ε of that position, with its 95 % Wilson interval."""
        return proportion(getattr(self, score)[position], float(self.eps[position]))

    def points(self, score: str = "correct") -> list[Point]:
        return [self.point(position, score) for position in range(len(self.eps))]

    def at(self, eps: float, score: str = "correct") -> Point | None:
        """The point measured at `eps` itself, or None."""
        position = self.index(eps)
        return self.point(position, score) if same(self.eps[position], eps) else None

    def measured(self, eps: float, score: str = "correct") -> Point:
        """The point at `eps`, one of those of this sweep."""
        point = self.at(eps, score)
        assert point is not None, f"{eps} is no ε of this sweep"
        return point

    def change(self, start: int, end: int, score: str = "correct") -> Point:
        """score at `end` minus score at `start`, on the same images, with its interval."""
        scores = getattr(self, score)
        return difference(scores[end], scores[start], float(self.eps[end]))

    def against(self, other: "Sweep", eps: float, score: str = "correct") -> Point | None:
        """This sweep's score minus `other`'s at `eps` on the images both have; None where either lacks this ε."""
        mine, theirs = self.index(eps), other.index(eps)
        if not (same(self.eps[mine], eps) and same(other.eps[theirs], eps)):
            return None
        shared, first, second = np.intersect1d(self.images, other.images, return_indices=True)
        if not len(shared):
            return None
        return difference(getattr(self, score)[mine][first], getattr(other, score)[theirs][second], eps)


def build_sweeps(records: pd.DataFrame) -> dict[tuple[str, str, str, str], Sweep]:
    """Records as sweeps by (model, defense, threat, attack); a sweep without clean rows of its own borrows them."""
    missing = [name for name in COLUMNS if name not in records.columns]
    if missing:
        raise EscrimeError(
            f"the records lack the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; they were written by "
            "another version of escrime: delete the records folder and run the experiment again."
        )
    table = records[COLUMNS].assign(eps=unified(records["eps"]))
    keys = ["model", "defense", "threat", "attack"]
    groups = {tuple(map(str, key)): rows for key, rows in table.groupby(keys, sort=False)}
    sweeps = {}
    for (model, defense, threat, attack), rows in groups.items():
        if attack != "none" and not (rows["eps"] == 0).any():
            clean = groups.get((model, defense, threat, "none"))
            if clean is None:
                clean = next((g for k, g in groups.items() if k[0] == model and k[1] == defense and k[3] == "none"), None)
            if clean is not None:
                # A clean row knows no target: an image already predicted as the sweep's target is part of its floor.
                target = int(rows["target"].max())
                hits = (clean["prediction"] == target).astype(float) if target != NO_TARGET else 0.0
                rows = pd.concat([clean[clean["image"].isin(rows["image"])].assign(hit=hits), rows])
        sweeps[model, defense, threat, attack] = one_sweep(model, defense, threat, attack, rows)
    return sweeps


def one_sweep(model: str, defense: str, threat: str, attack: str, rows: pd.DataFrame) -> Sweep:
    """The rows of one group as (ε, image) matrices. A doubled row is an error: it would count an image twice."""
    image_codes, images = pd.factorize(rows["image"])
    eps, eps_codes = np.unique(rows["eps"].to_numpy(float), return_inverse=True)
    cells = eps_codes * len(images) + image_codes
    if len(np.unique(cells)) != len(cells):
        row = rows.iloc[int(pd.Series(cells).duplicated().to_numpy().argmax())]
        raise held_twice({**row, "model": model, "defense": defense, "threat": threat, "attack": attack})
    scores = {}
    for name in ("correct", "hit", "confidence"):
        grid = np.full(len(eps) * len(images), np.nan)
        grid[cells] = rows[name].to_numpy(float)
        scores[name] = grid.reshape(len(eps), len(images))
    subsets = np.full(len(images), "", dtype=object)
    subsets[image_codes] = rows["subsets"].astype(str).to_numpy()
    target, draws = int(rows["target"].max()), int(rows["draws"].max())
    names = np.asarray(images, dtype=str)
    return Sweep(model, defense, threat, attack, eps, names, subsets, target=target, draws=draws, **scores)
