"""Common corruptions in the records: accuracy by corruption and severity, and the mean corruption error with its interval.

Source: Hendrycks & Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations,
section 4.
"""

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..norms import norm
from ..norms.corruption import LARGEST, CommonCorruption
from .records import in_subset, subset_names, summarize, worst_case
from .statistics import bootstrap, wilson
from .threats import UNDEFENDED

# AlexNet's top-1 error on ImageNet under each of the fifteen, mean over severities, as published with the paper; they are the
# fifteen that a mean corruption error is about. On clean images it errs on 43.5 %.
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
ALEXNET_CLEAN = 0.435
CASE = ["subset", "model", "defense", "threat"]


def corrupted(records: pd.DataFrame) -> pd.DataFrame:
    """The rows of corrupted images. Their `attack` is the corruption (without the name of the norm, which stands behind a label
    where there are several threats) and their `eps` its severity."""
    rows = records[(records["norm"] == CommonCorruption.name) & (records["eps"] > 0) & records["verified"]]
    return rows.assign(attack=rows["attack"].astype(str).str.removesuffix(norm(CommonCorruption.name).suffix))


def by_corruption(records: pd.DataFrame) -> pd.DataFrame:
    """Accuracy with n and its Wilson interval for each (subset, model, defense, threat, corruption, severity)."""
    table = summarize(corrupted(records)).rename(columns={"attack": "corruption", "eps": "severity"})
    return table.astype({"severity": "int64"})


def corruption_errors(records: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """What a mean over corruptions says of each classifier, from the images that were seen under all of them.

    An error of a corruption is its mean over severities. Intervals are those of a bootstrap over images: an image's corruptions
    are not independent of each other, so an image is drawn with all of them.

    Args:
        records: Of an evaluation, or read from a run folder.
        seed: Of the bootstrap.

    Returns:
        A table with one row per (subset, model, defense, threat): `n` images; `corruptions` and `severities`, how many the
        means are over, of the fifteen and five; `clean`, the error without corruption; `error`, the mean over corruptions, and
        `relative`, how far that is above `clean`; `worst`, the share of images that some corruption of some severity, or none,
        is enough for; `alexnet`, the paper's mCE: the mean over corruptions of the error divided by AlexNet's on ImageNet, and
        `alexnet_relative`, the same of what is above the clean error. Those two mean something for ImageNet's classes only.
        Each but `clean` has its 95 % interval beside it, in `_low` and `_high`. Corruptions beside the fifteen are not in the
        means nor in `worst`.
    """
    rows = [dict(zip(CASE, case, strict=True)) | _errors(own, seed) for case, own in _cases(corrupted(records))]
    return pd.DataFrame(rows)


def _cases(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    for subset in subset_names(rows):
        for case, own in in_subset(rows, subset).groupby(CASE[1:], sort=False):
            yield (subset or "all", *case), own


def _errors(rows: pd.DataFrame, seed: int) -> dict[str, float]:
    """The columns of `corruption_errors` for one classifier; none but the counts where it saw none of the fifteen."""
    rows = rows[rows["attack"].isin(ALEXNET)]
    if rows.empty:
        return {"n": 0, "corruptions": 0, "severities": 0}
    wrong = (1 - rows.pivot_table(index="image", columns=["attack", "eps"], values="correct")).dropna()
    first = rows.drop_duplicates("image").set_index("image").loc[wrong.index]
    clean = (first["clean_prediction"] != first["label"]).to_numpy(float)
    each = wrong.T.groupby(level="attack", sort=False).mean().T  # (images, corruptions)
    above = each.to_numpy() - clean[:, None]
    alexnet = np.array([ALEXNET[name] for name in each.columns])
    per_image = {  # every one a mean over images, so that images can be drawn by what each contributes
        "error": each.to_numpy().mean(1),
        "relative": above.mean(1),
        "alexnet": (each.to_numpy() / alexnet).mean(1),
        "alexnet_relative": (above / (alexnet - ALEXNET_CLEAN)).mean(1),
    }
    found = {"n": len(wrong), "corruptions": each.shape[1], "severities": wrong.columns.get_level_values("eps").nunique()}
    found["clean"] = float(clean.mean()) if len(clean) else np.nan
    for name, values in per_image.items():
        low, high = bootstrap(values, seed) if len(values) else (np.nan, np.nan)
        found |= {name: float(values.mean()) if len(values) else np.nan, f"{name}_low": low, f"{name}_high": high}
    worst = worst_case(rows[rows["image"].isin(wrong.index)])
    worst = worst[(worst["eps"] == worst["eps"].max()) & (worst["eps"] > 0)]
    lost = float((1 - worst["correct"]).sum())
    low, high = wilson(lost, len(worst)) if len(worst) else (np.nan, np.nan)
    return found | {"worst": lost / max(len(worst), 1), "worst_low": low, "worst_high": high}


def corruption_rows(records: pd.DataFrame, case: dict[str, str]) -> list[list[str]]:
    """The head and the rows of a table of accuracy with its 95 % intervals: a row per corruption, a column per severity with
    its n, and of several severities the mean over those that the row has.

    Args:
        records: As of `corruption_errors`.
        case: A row of it.
    """
    table = by_corruption(records)
    own = table[(table[CASE] == [case[name] for name in CASE]).all(axis=1)]
    known = {name: at for at, name in enumerate(ALEXNET)}
    severities, means = sorted(own["severity"].unique()), own.groupby("corruption")["accuracy"].mean()
    heads = [f"severity {severity} (n = {_count(own.loc[own['severity'] == severity, 'n'])})" for severity in severities]
    rows = [["corruption", *heads, *["mean"] * (len(severities) > 1)]]
    cells = {(row["corruption"], row["severity"]): row for row in own.to_dict("records")}
    for name in sorted(means.index, key=lambda name: (known.get(name, len(known)), name)):
        shares = [_cell(cells.get((name, severity))) for severity in severities]
        mean = [f"{means[name]:.1%}"] * (len(severities) > 1)
        rows.append([f"{name}{'' if name in known else ' (extra)'}", *shares, *mean])
    return rows


def _count(n: pd.Series) -> str:
    return "–".join(str(count) for count in sorted({int(n.min()), int(n.max())}))


def _cell(row: dict[Hashable, Any] | None) -> str:
    return "–" if row is None else f"{row['accuracy']:.1%} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def in_words(case: dict[str, float], imagenet: bool = False) -> list[str]:
    """The means of one row of `corruption_errors` as sentences; imagenet: those over AlexNet's errors too, which are such only
    over all corruptions and severities."""
    severities = "1 severity" if case["severities"] == 1 else f"{case['severities']} severities"
    of = f"{case['corruptions']} corruption{'s' * (case['corruptions'] != 1)} × {severities}, {case['n']} images"
    if not case["n"]:
        return ["No image was seen under all corruptions, so there is no mean over them."]
    said = [
        f"Mean corruption error {_share(case, 'error')}, against {case['clean']:.1%} without corruption: "
        f"{_share(case, 'relative', sign='+')} ({of}).",
        f"Some corruption is enough for {_share(case, 'worst')} of the images.",
    ]
    if (case["corruptions"], case["severities"]) != (len(ALEXNET), int(LARGEST)):
        said.append(
            f"The paper's means are over {len(ALEXNET)} corruptions at {LARGEST:g} severities, so this is none of them."
        )
    elif imagenet:
        said.append(
            f"In units of AlexNet's published errors on ImageNet (100 % is as bad): mCE {_share(case, 'alexnet')}, "
            f"relative mCE {_share(case, 'alexnet_relative')}."
        )
    return said


def _share(case: dict[str, float], name: str, sign: str = "") -> str:
    return f"{case[name]:{sign}.1%} ({case[f'{name}_low']:.1%} – {case[f'{name}_high']:.1%})"


def corruption_text(records: pd.DataFrame, *, imagenet: bool = False, seed: int = 0) -> str:
    """All of it as text, to print.

    Args:
        records: As of `corruption_errors`.
        imagenet: Whether the classes are ImageNet's, for which the paper's mCE means something.
        seed: Of the bootstrap.

    Returns:
        For each classifier a table of accuracy and the sentences below it; one sentence where nothing was corrupted.
    """
    parts = []
    for case in corruption_errors(records, seed=seed).to_dict("records"):
        rows = corruption_rows(records, case)
        rows = [[rows[0][0], *(head.removeprefix("severity ") for head in rows[0][1:])], *rows[1:]]
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        name = " · ".join(case[part] for part in CASE[1:] if case[part] not in ("none", *UNDEFENDED))
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        parts.append("\n".join([f"{name} ({case['subset']} images)", *lines, *in_words(case, imagenet)]))
    return "\n\n".join(parts) or "No image of these records was corrupted."
