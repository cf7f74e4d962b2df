"""The record: one row per (model, defense, threat level, attack, ε, image). Everything in a report comes from these rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..budgets import unified
from ..errors import EscrimeError
from ..files import whole
from ..no_class import NO_TARGET
from .layout import DEPLOYED
from .rows import COLUMNS, check_unique, read_all
from .statistics import total, wilson
from .threats import TRANSFER

STRONGER = "stronger"  # the attack of rows that a validity check called for
PRIOR = 4  # noise draws that the average of an attack is worth
KEYS = ["model", "defense", "threat", "attack", "eps"]
WORST = "worst case"


def own_rows(label: str) -> str | None:
    """Why no attack may have this label: it begins as those of our own rows do; None where it may."""
    taken = next((name for name in (STRONGER, WORST) if label.startswith(name)), None)
    return f"begins with {taken!r}, as escrime's own rows do; give it another name." if taken else None


def frame(*blocks: Mapping[str, ArrayLike], kinds: Mapping[str, str] = COLUMNS) -> pd.DataFrame:
    """A DataFrame with exactly the columns of a record, in order and typed, from blocks of rows: column → its values, or one
    value for the whole block. kinds: other columns than those of a record, with their types."""
    columns: dict[str, list[np.ndarray]] = {}
    for block in blocks:
        rows = np.size(block["image"])
        for name, values in block.items():
            columns.setdefault(name, []).append(np.broadcast_to(np.asarray(values), rows))
    table = pd.DataFrame({name: np.concatenate(values) for name, values in columns.items()})
    return with_preliminary(table)[list(kinds)].astype(kinds)


def unattacked(records: pd.DataFrame) -> pd.DataFrame:
    """The rows of images as they were, of an attack that failed: not verified, and at no distance (NaN)."""
    moved = records["eps"] > 0
    return records.assign(verified=records["verified"] & ~moved, distance=records["distance"].mask(moved), survives_8bit=False)


def never_attacked(records: pd.DataFrame) -> pd.Series:
    """Which rows are of an attack that failed, see `unattacked`."""
    return ~records["verified"] & records["distance"].isna()


def with_preliminary(records: pd.DataFrame) -> pd.DataFrame:
    """The records with `preliminary` where they lack it: `correct`, as for a deterministic model."""
    if "correct" not in records or ("preliminary" in records and records["preliminary"].notna().all()):
        return records
    known = records.get("preliminary", records["correct"]).fillna(records["correct"])
    others = records.drop(columns="preliminary", errors="ignore")
    others.insert(others.columns.get_loc("correct") + 1, "preliminary", known)
    return others


def write_part(records: pd.DataFrame, path: Path) -> None:
    """Write one Parquet part, whole or not at all."""
    with whole(path, follow=False) as temporary:
        records.to_parquet(temporary, index=False)


def read_records(folder: Path | str) -> pd.DataFrame:
    """All parts of a run folder (or of its `records` folder) as one DataFrame.

    Errors: EscrimeError for a part that no run writes (see results.rows), and for what is there twice.
    """
    folder = Path(folder)
    folder = folder / "records" if (folder / "records").is_dir() else folder
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise EscrimeError(f"{folder} holds no records (*.parquet); give the folder of a run, such as runs/digits.")
    return _read(parts, folder)


def read_deployed(folder: Path | str) -> pd.DataFrame | None:
    """What a run folder holds about a deployed model (see results.deployment), in the columns of records; None for nothing.

    Errors: EscrimeError as of `read_records`.
    """
    folder = Path(folder) / DEPLOYED
    parts = sorted(folder.glob("*.parquet"))
    return _read(parts, folder) if parts else None


def _read(parts: list[Path], folder: Path) -> pd.DataFrame:
    records = read_all(parts)
    records = records.assign(eps=unified(records["eps"]))
    check_unique(records, folder)
    return with_preliminary(records)


def in_subset(records: pd.DataFrame, subset: str | None) -> pd.DataFrame:
    """The rows whose image belongs to `subset`; all rows for None."""
    if subset is None:
        return records
    return records[[subset in names.split(" ") for names in records["subsets"]]]


def subset_names(records: pd.DataFrame) -> list[str | None]:
    """The named subsets in the records, or [None] when the data has none."""
    names = dict.fromkeys(name for names in records["subsets"].unique() for name in names.split(" ") if name)
    return list(names) or [None]


def summarize(records: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Accuracy with n and its Wilson interval per (subset, model, defense, threat, attack, ε), as fractions."""
    records = records.assign(eps=unified(records["eps"]))
    rows = []
    for subset in subset_names(records):
        for key, group in in_subset(records, subset).groupby(KEYS, sort=False):
            right = total(group["correct"])
            low, high = wilson(right, len(group), confidence)
            rows.append(
                dict(zip(KEYS, key, strict=True))
                | {
                    "subset": subset or "all",
                    "n": len(group),
                    "accuracy": right / len(group),
                    "low": low,
                    "high": high,
                }
            )
    table = pd.DataFrame(rows, columns=["subset", *KEYS, "n", "accuracy", "low", "high"])
    return table.sort_values(["subset", *KEYS], kind="stable", ignore_index=True)


def worst_case(records: pd.DataFrame) -> pd.DataFrame:
    """Per (model, defense, threat, norm, ε, image), the row of the attack that is worst for the image; for `summarize`.

    An attacker may choose among all attacks (a targeted one counts by misclassification), any smaller ε of the same norm
    and the clean image, and one who knows the defense may ignore it: "adaptive" also chooses among the transfer rows. So
    accuracy never rises with ε and adaptive is never above transfer: exactly for a deterministic model, and up to the
    noise of its draws for a randomized one. The choice is made by `preliminary` (ties: the larger ε, then the threat
    level's own rows, then the order of the attacks) and scored by `correct`, from other draws: chosen and scored by the
    same ones, every lucky miss would be kept. What is estimated is thus the chance that an image is right under the attack
    chosen for it, without bias; it may lie above the mean `correct` of a single attack by the luck of the draws, and is not
    pulled down to it, as the smallest of several such means is too small on average (see `crossings`).

    Images: those that the attack which the checks called for was run on, where there is one, else those that every untargeted
    attack of the threat level and norm was run on: an image that only the weak ones have seen would count as robust. ε:
    every one at which the threat level (or transfer, where it may choose it) was measured, over those of these images that
    were measured there. What breaks its budget is no choice. For a randomized model an attack's few draws on one image count
    together with PRIOR draws of its average over all images, so that it is not one lucky draw that chooses. The rows' attack
    is "worst case" ("worst case, l2" where there are several norms); columns `by`, `by_threat` and `by_eps` name whose row
    it is.
    """
    table = with_preliminary(records)
    table = table.assign(eps=unified(table["eps"]), by=table["attack"].where(table["verified"], "none"), recorded=True)
    known = table.groupby(["model", "defense"], sort=False)
    table = pd.concat([table, *(_clean_images(rows) for _, rows in known)], ignore_index=True)
    image, attack = (pd.factorize(table[name])[0] for name in ("image", "attack"))
    several = table.loc[table["eps"] > 0, "norm"].nunique() > 1
    chosen = []
    for _, rows in _slim(table).groupby(["model", "defense"], sort=False, observed=True):
        chance = shows_chance(rows[rows["recorded"]])
        for threat, own in rows[rows["recorded"]].groupby("threat", sort=False, observed=True):
            moved = own[own["eps"] > 0]
            for norm, seen in (moved if len(moved) else own).groupby("norm", sort=False, observed=True):
                mine = rows["threat"].isin([threat, TRANSFER]) & (rows["norm"] == norm)
                choices = rows[(mine | (rows["eps"] == 0)) & rows["image"].isin(_faced_all(seen))]
                # What broke its budget comes last: it stands for its image, as it was, where there is nothing else.
                foreign, far = choices["threat"] != threat, -choices["eps"]
                rank = [attack[choices.index], foreign, far, _likely(choices, chance), ~choices["verified"]]
                ranked = choices.iloc[np.lexsort(rank)]
                for eps, rows_then in _worst_up_to_each_eps(ranked, image[ranked.index]):
                    chosen.append((rows_then, threat, norm, eps, f"{WORST}, {norm}" if several else WORST))
    if chosen:
        rows, *columns = zip(*chosen)
        counts = [len(some) for some in rows]
        repeated = {name: np.repeat(values, counts) for name, values in zip(("threat", "norm", "eps", "attack"), columns)}
        table = table.loc[np.concatenate(rows)].reset_index(drop=True)
        table = table.assign(by_threat=table["threat"], by_eps=table["eps"]).assign(**repeated)
    else:
        table = table.assign(by_threat=table["threat"], by_eps=table["eps"])
    return table.astype(COLUMNS)[[*COLUMNS, "by", "by_threat", "by_eps"]]


def worst_case_by_subset(records: pd.DataFrame) -> pd.DataFrame:
    """The worst case of each subset of the images, as rows of that subset alone; for `summarize`.

    Which attack a randomized model stands worst, and which images all attacks were run on, may differ between subsets.
    """
    return pd.concat(
        [worst_case(in_subset(records, subset)).assign(subsets=subset or "") for subset in subset_names(records)],
        ignore_index=True,
    )


def _faced_all(attacked: pd.DataFrame) -> set[str]:
    """The images whose worst case may be taken over the attacks of one classifier, threat level and norm; see `worst_case`."""
    strong = attacked.loc[attacked["attack"].astype(str).str.startswith(STRONGER), "image"]
    if len(strong):
        return set(strong)
    tried = attacked.loc[attacked["target"] == NO_TARGET, ["attack", "image"]].drop_duplicates()
    faced = tried["image"].value_counts()
    return set(faced.index[faced == tried["attack"].nunique()] if len(tried) else ()) or set(attacked["image"])


def _slim(table: pd.DataFrame) -> pd.DataFrame:
    """What choosing the worst row of each image needs, repeated words as numbers: a few copies of it are no burden."""
    words = ["model", "defense", "threat", "attack", "norm", "image"]
    numbers = ["eps", "target", "verified", "recorded", "preliminary", "correct", "draws"]
    return table[[*words, *numbers]].astype(dict.fromkeys(words, "category"))


def _worst_up_to_each_eps(ranked: pd.DataFrame, image: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """(ε, the index of the worst row of each image measured at ε) for every ε, from rows ranked worst first."""
    index, levels, recorded = (a.to_numpy() for a in (ranked.index, ranked["eps"], ranked["recorded"]))
    for eps in np.unique(levels[recorded]):
        within = (levels <= eps) & np.isin(image, image[recorded & (levels == eps)])
        _, first = np.unique(image[within], return_index=True)
        yield float(eps), index[within][first]


def _likely(choices: pd.DataFrame, chance: bool) -> pd.Series:
    """How likely each row's image is right, as `preliminary` has it, on a randomized model drawn towards the mean of the
    row's attack."""
    if not chance:
        return choices["preliminary"]
    usual = choices.groupby(["threat", "attack", "eps"], observed=True)["preliminary"].transform("mean")
    return (choices["draws"] * choices["preliminary"] + PRIOR * usual) / (choices["draws"] + PRIOR)


def shows_chance(rows: pd.DataFrame) -> bool:
    """Whether the records of one classifier are those of a randomized one: averages, or two predictions for one image."""
    clean = rows[rows["eps"] == 0]
    averaged = (rows["draws"] > 1).any() or (rows["preliminary"] != rows["correct"]).any()
    return bool(averaged or (clean.groupby("image")["correct"].nunique() > 1).any())


def _clean_images(rows: pd.DataFrame) -> pd.DataFrame:
    """The clean image of every row of a deterministic model as a row at ε = 0; none for a randomized one, whose clean
    prediction is a majority and no score."""
    if shows_chance(rows):
        return rows[:0]
    rows = rows.drop_duplicates("image")
    correct = (rows["clean_prediction"] == rows["label"]).astype(float)
    blank = {"eps": 0.0, "by": "none", "target": NO_TARGET, "hit": 0.0, "distance": 0.0, "recorded": False}
    blank |= {"forwards": 0.0, "backwards": 0.0, "verified": True, "survives_8bit": False}
    predicted = {"prediction": rows["clean_prediction"], "confidence": rows["clean_confidence"]}
    return rows.assign(**blank, **predicted, correct=correct, preliminary=correct)
