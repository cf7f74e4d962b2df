"""The record: one row per (model, defense, threat level, attack, ε, image). Everything a report says comes from these rows."""

from pathlib import Path

import pandas as pd

from ..errors import EscrimeError
from ..files import whole
from .statistics import wilson

COLUMNS = {
    "model": "string",
    "defense": "string",  # "none", "ppa", "adversarial-training", ...
    "threat": "string",  # "white-box" for an undefended model, else "transfer" or "adaptive"
    "attack": "string",  # "none" on clean rows
    "norm": "string",
    "eps": "float64",
    "image": "string",
    "subsets": "string",  # space-joined names, "" when the data has none
    "label": "int64",
    "target": "int64",  # -1 for an untargeted attack
    "clean_prediction": "int64",
    "clean_confidence": "float64",
    "prediction": "int64",
    "confidence": "float64",
    "correct": "float64",  # expectation over fresh noise for a randomized model
    "hit": "float64",  # the same for "predicted as the target"
    "draws": "int64",
    "distance": "float64",
    "forwards": "float64",
    "backwards": "float64",
    "verified": "bool",
    "survives_8bit": "bool",
    "seed": "int64",
}
KEYS = ["model", "defense", "threat", "attack", "eps"]


def frame(rows: dict) -> pd.DataFrame:
    """A DataFrame with exactly the columns of a record, in order and typed."""
    return pd.DataFrame(rows).astype(COLUMNS)[list(COLUMNS)]


def write_part(records: pd.DataFrame, path: Path) -> None:
    """Write one Parquet part, whole or not at all."""
    with whole(path) as temporary:
        records.to_parquet(temporary, index=False)


def read_records(folder: Path | str) -> pd.DataFrame:
    """All parts of a run folder (or of its `records` folder) as one DataFrame."""
    folder = Path(folder)
    folder = folder / "records" if (folder / "records").is_dir() else folder
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise EscrimeError(f"{folder} holds no records (*.parquet); give the folder of a run, such as runs/digits.")
    frames = []
    for part in parts:
        try:
            frames.append(pd.read_parquet(part))
        except (OSError, ValueError) as error:
            raise EscrimeError(f"records {part} cannot be read ({error}); delete that part and run again.") from error
    return pd.concat(frames, ignore_index=True)


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
    rows = []
    for subset in subset_names(records):
        for key, group in in_subset(records, subset).groupby(KEYS, sort=False):
            low, high = wilson(group["correct"].sum(), len(group), confidence)
            rows.append(
                dict(zip(KEYS, key, strict=True))
                | {
                    "subset": subset or "all",
                    "n": len(group),
                    "accuracy": group["correct"].mean(),
                    "low": low,
                    "high": high,
                }
            )
    table = pd.DataFrame(rows, columns=["subset", *KEYS, "n", "accuracy", "low", "high"])
    return table.sort_values(["subset", *KEYS], kind="stable", ignore_index=True)
