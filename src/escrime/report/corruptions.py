"""The page's part on common corruptions: accuracy by corruption and severity, and the means with their intervals."""

from dataclasses import dataclass

from ..results.corruptions import corrupted, corruption_errors, corruption_rows, in_words
from ..results.names import defense_name
from ..results.threats import UNDEFENDED
from .run import Run

IMAGENET = 1000  # classes; with so many the paper's mCE means something


@dataclass(frozen=True)
class Corrupted:
    """What one classifier does on corrupted images: a title, a table (head, then rows of texts) and sentences below it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    sentences: list[str]


def corruption_tables(run: Run, model: str) -> list[Corrupted]:
    """One for each defense, threat level and subset of a model; none where nothing was corrupted."""
    records = run.records[run.records["model"] == model]
    if corrupted(records).empty:
        return []
    found = []
    for case in corruption_errors(records, seed=int(run.manifest.get("seed") or 0)).to_dict("records"):
        head, *rows = corruption_rows(records, case)
        level = "" if case["threat"] in UNDEFENDED else case["threat"]  # nobody looks at the network
        parts = [defense_name(case["defense"]), level, "" if case["subset"] == "all" else f"{case['subset']} images"]
        imagenet = len(run.classes) == IMAGENET
        found.append(Corrupted(", ".join(filter(None, parts)), head, rows, in_words(case, imagenet)))
    return found
