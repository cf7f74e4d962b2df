"""The page's part on universal attacks: what one perturbation for all images looks like, and what it does."""

from dataclasses import dataclass

import pandas as pd

from ..norms import norm
from ..results.keys import joined
from ..results.layout import perturbation_picture
from ..results.manners import UNIVERSAL
from ..results.names import defended
from ..results.records import in_subset
from ..results.statistics import total, wilson
from .formatting import percent
from .gallery import Picture, embedded
from .pictures import SHARP_BELOW, read_png
from .run import Run

HALVES = ("first", "second")


@dataclass(frozen=True)
class OneForAll:
    """A universal attack on a model at one ε: what it is called, a sentence on what it did, and both of its pictures. files:
    their names in the run folder. small: whether single pixels are to be seen."""

    title: str
    sentence: str
    pictures: list[Picture]
    files: list[str]
    small: bool


def one_for_all(run: Run, model: str) -> list[OneForAll]:
    """Of every universal attack on a model, with or without a defense, that has its pictures in the run folder."""
    rows = in_subset(run.records[run.records["model"] == model], run.main_subset)
    labels = [label for label in run.attacks(model) if run.manner(label) == UNIVERSAL]
    rows = rows[rows["attack"].isin(labels) & (rows["eps"] > 0)]
    found = []
    for case, own in rows.groupby(["model", "defense", "threat", "attack"], sort=False):
        found += [_shown(run, case, float(eps), at) for eps, at in own.groupby("eps")]
    return [made for made in found if made.pictures]


def _shown(run: Run, case: tuple[str, ...], eps: float, rows: pd.DataFrame) -> OneForAll:
    """The attack of `case` (model, defense, threat level, label) at one ε, from its `rows`."""
    model, defense, _, label = case
    pictures, files, side = list[Picture](), list[str](), 0
    for half, name in enumerate(HALVES):
        path = perturbation_picture(run.folder, joined(case), eps, half)
        if (image := read_png(path)) is not None:
            alt = f"What {label} made for all images, fitted on the {name} half of them"
            pictures.append(Picture(embedded(image, thin=True), alt, f"{name} half"))
            files.append(path.relative_to(run.folder).as_posix())
            side = max(side, *image.shape)
    n, right, clean = len(rows), total(rows["correct"]), float((rows["clean_prediction"] == rows["label"]).mean())
    low, high = wilson(right, n)
    share = f"{percent(right / n)} [{100 * low:.1f}, {100 * high:.1f}] of {n} images"
    sentence = f"With it {defended(model, defense)} gets {share} right, {percent(clean)} without."
    title = f"{label}, {norm(run.norm_of(label)).said(eps)}"
    return OneForAll(title, sentence, pictures, files, side < SHARP_BELOW)
