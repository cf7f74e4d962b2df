"""What was made for a model, on the one that is deployed in its place (its int8, ONNX or exported form): image by image."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ..budgets import same, unified
from ..norms import norm
from .records import STRONGER, WORST, never_attacked, worst_case
from .statistics import exact_test, p_text, paired_difference, share_text
from .threats import DEPLOYED, TRANSFER

CLEAN = "clean"  # in place of an attack: the images as they are


@dataclass(frozen=True)
class Paired:
    """The same n images on both: `attack` at ε, or CLEAN ones.

    Args:
        attack: Its label.
        norm: That of ε.
        eps: ε, 0 for clean images.
        n: How many images.
        both_right: That both get right. A randomized model gets right what it does in at least half of its draws.
        only_model_wrong: That fool the model and not the deployed one,
        only_deployed_wrong: the reverse,
        both_wrong: and both.
        differ: That the two predict as different classes.
        model: Accuracy of the model.
        deployed: That of the deployed one.
        difference: deployed − model, with its paired 95 % interval (low, high).
        low: See `difference`.
        high: See `difference`.
        p: Of McNemar's exact test that they are equally often right; of its extension to averages over noise, sign flips.
    """

    attack: str
    norm: str
    eps: float
    n: int
    both_right: int
    only_model_wrong: int
    only_deployed_wrong: int
    both_wrong: int
    differ: int
    model: float
    deployed: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def name(self) -> str:
        """As in: PGD, ε = 4/255."""
        if self.attack == CLEAN:
            return "clean images"
        return f"{self.attack}, {norm(self.norm).said(self.eps)}"

    @property
    def sentence(self) -> str:
        """What it says."""
        better = f"{share_text(self.model)} right, the deployed one {share_text(self.deployed)} ({p_text(self.p, 'p')})"
        if self.attack == CLEAN:
            other = f"The deployed model predicts another class for {self.differ} of {self.n} clean images"
            return f"{other}; the model gets {better}."
        return (
            f"{self.name}: {self.both_wrong} of {self.n} images fool both, {self.only_model_wrong} the model only, "
            f"{self.only_deployed_wrong} the deployed one only; the model gets {better}."
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"name": self.name}


def deployment(records: pd.DataFrame, deployed: pd.DataFrame | None) -> list[Paired]:
    """Clean images first, then every attack at every ε, of several in a norm last their worst case: what each image is worth to
    both. The stronger attack of the checks, which is made for the model alone, is no part of it, nor is what one of the two
    raised on.

    Args:
        records: Of the model, as an evaluation makes them.
        deployed: Those of the deployed one, which was shown the same examples; None where there is none.

    Returns:
        The rows; [] without a deployed model.
    """
    if deployed is None or deployed.empty:
        return []
    records = records[~records["attack"].str.startswith(STRONGER)]
    found = [_paired(CLEAN, "linf", 0.0, _clean(records), _clean(deployed))]
    records, deployed = (rows[~never_attacked(rows)] for rows in (records, deployed))
    keys = ["attack", "norm", "eps"]
    sides = [_by_key(rows[rows["eps"] > 0], keys) for rows in (records, deployed)]
    found += [_paired(*key, sides[0][key], rows) for key, rows in sides[1].items() if key in sides[0]]
    if deployed.empty:
        return found
    level = next((threat for threat in records["threat"].unique() if threat != TRANSFER), TRANSFER)
    worst = [worst_case(rows) for rows in (records, deployed)]
    worst = [rows[(rows["threat"] == at) & (rows["eps"] > 0)] for rows, at in zip(worst, (level, DEPLOYED), strict=True)]
    sides = [_by_key(rows.assign(attack=WORST), keys) for rows in worst]
    several = deployed[deployed["eps"] > 0].groupby("norm")["attack"].nunique()
    found += [_paired(*k, sides[0][k], rows) for k, rows in sides[1].items() if k in sides[0] and several[k[1]] > 1]
    return [row for row in found if row.n]


def sentences(rows: list[Paired]) -> list[str]:
    """What the rows come to: clean images, and the worst case of each norm, or the only attack."""
    several = {row.norm for row in rows if row.attack == WORST}
    return [row.sentence for row in rows if row.attack in (CLEAN, WORST) or row.norm not in several]


def _by_key(rows: pd.DataFrame, keys: list[str]) -> dict[tuple[str, str, float], pd.DataFrame]:
    rows = rows.assign(eps=unified(rows["eps"]))
    return {(str(a), str(n), float(e)): own for (a, n, e), own in rows.groupby(keys, sort=False)}


def _clean(records: pd.DataFrame) -> pd.DataFrame:
    """The clean images, as rows; where none was scored at ε = 0, by their clean predictions."""
    rows = records[same(records["eps"], 0.0)]
    if len(rows):
        return rows
    right = (records["clean_prediction"] == records["label"]).astype(float)
    return records.assign(prediction=records["clean_prediction"], correct=right)


def _paired(attack: str, norm: str, eps: float, model: pd.DataFrame, deployed: pd.DataFrame) -> Paired:
    one, other = (rows.drop_duplicates("image").set_index("image")[["correct", "prediction"]] for rows in (model, deployed))
    images = one.index.intersection(other.index)
    one, other = one.loc[images], other.loc[images]
    scores = [rows["correct"].to_numpy(float) for rows in (one, other)]
    first, second = (each >= 0.5 for each in scores)
    value, low, high, n = paired_difference(scores[1], scores[0])
    differ = int((one["prediction"] != other["prediction"]).sum())
    shares = [float(each.mean()) if n else float("nan") for each in scores]
    return Paired(
        attack,
        norm,
        eps,
        n,
        both_right=int((first & second).sum()),
        only_model_wrong=int((~first & second).sum()),
        only_deployed_wrong=int((first & ~second).sum()),
        both_wrong=int((~first & ~second).sum()),
        differ=differ,
        model=shares[0],
        deployed=shares[1],
        difference=value,
        low=low,
        high=high,
        p=exact_test(scores[1], scores[0])[1],
    )
