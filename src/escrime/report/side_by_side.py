"""Two runs, or two models, on the images both have: accuracies, paired differences, and whether they can be told apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..budgets import same, unified
from ..errors import EscrimeError, listing, nearest
from ..results.comparisons import Comparison, compare
from ..results.records import WORST, in_subset, worst_case
from ..results.statistics import holm, wilson
from ..results.threats import ADAPTIVE
from .formatting import fraction_text, points_text
from .run import Run, read_run

ALPHA = 0.05
CLEAN = "clean"
NEEDED = ["model", "defense", "threat", "attack", "eps", "image", "correct"]  # of a record, to compare it
SETTINGS = ("attacks", "norm", "threat", "defenses", "checks")  # of a manifest's experiment, where both state them

Row = tuple[tuple[str, str], str, str, str, str, Comparison]  # (models, defense, threat, attack, norm, comparison)


@dataclass(frozen=True)
class Pair:
    """One row: `comparison` is of the second side (its `first`) minus the first side (its `second`)."""

    models: tuple[str, str]
    defense: str
    threat: str
    attack: str
    norm: str
    comparison: Comparison
    p_holm: float

    @property
    def verdict(self) -> str:
        """Of the second side: better, worse, or nothing that so few images can show."""
        if not self.p_holm < ALPHA:
            return "no difference shown"
        return "better" if self.comparison.difference > 0 else "worse"


@dataclass(frozen=True)
class SideBySide:
    """`pairs` in the order of the first run; `shared`: how many images both have; `warnings`: sentences."""

    folders: tuple[Path, Path]
    pairs: list[Pair]
    shared: int
    subset: str | None = None
    warnings: list[str] = field(default_factory=list)


def compare_runs(
    first: Path | str,
    second: Path | str,
    models: tuple[str, ...] = (),
    *,
    attacks: tuple[str, ...] = (),
    epsilons: tuple[float, ...] = (),
) -> SideBySide:
    """Compare every (defense, threat, attack, norm, ε) that both runs have, on the images both have.

    models: one name, the same in both runs, or two, the first run's and the second's; () pairs the models of one name, or
    the only two. attacks, epsilons: only these ("clean" and "worst case" are attacks too); clean images always stay. The
    p-values are corrected for the number of rows (Holm).

    Raises:
        EscrimeError: For what is no run, an unknown model, or runs without a common image, attack or ε.
    """
    return compare_read((read_run(first), read_run(second)), models, attacks=attacks, epsilons=epsilons)


def compare_read(
    runs: tuple[Run, Run], models: tuple[str, ...] = (), *, attacks: tuple[str, ...] = (), epsilons: tuple[float, ...] = ()
) -> SideBySide:
    """`compare_runs` of runs that have been read."""
    first, second = (run.folder for run in runs)
    pairs = model_pairs(runs, models)
    subset = runs[0].main_subset if runs[0].main_subset == runs[1].main_subset else None
    tables = [in_subset(run.records, subset) for run in runs]
    images = set(tables[0]["image"]) & set(tables[1]["image"])
    if not images:
        counts = listing([f"{table['image'].nunique()} of {dataset(run)}" for table, run in zip(tables, runs)])
        raise EscrimeError(f"{first} and {second} share no image ({counts}); evaluate both models on the same data.")
    names = [list(dict.fromkeys(side)) for side in zip(*pairs)]
    tables = [with_worst(t[t["image"].isin(images) & t["model"].isin(own)]) for t, own in zip(tables, names)]
    lengths = [len(table) for table in tables]
    eps = np.split(unified(np.concatenate([table["eps"] for table in tables])), [lengths[0]])
    tables = [table.assign(eps=own) for table, own in zip(tables, eps)]
    rows = [row for pair in pairs for row in compared(tables, pair, attacks, epsilons)]
    missing = [name for name in attacks if all(row[3] != name for row in rows)]
    missing_eps = [eps for eps in epsilons if all(not same(row[5].eps, eps) for row in rows)]
    if not any(row[3] != CLEAN for row in rows) and attacks != (CLEAN,) or missing or missing_eps:
        raise EscrimeError(nothing_common((first, second), tables, missing or attacks, missing_eps or epsilons))
    corrected = holm([comparison.p for *_, comparison in rows])
    found = [Pair(*row, float(p)) for row, p in zip(rows, corrected, strict=True)]
    return SideBySide((runs[0].folder, runs[1].folder), found, len(images), subset, warnings(runs, tables, pairs))


def model_pairs(runs: tuple[Run, Run], models: tuple[str, ...]) -> list[tuple[str, str]]:
    """(model of the first run, model of the second) for every comparison."""
    a, b = runs
    if len(models) > 2:
        raise EscrimeError(f"--models names {len(models)} models; give one for both runs, or two, one for each.")
    if models:
        wanted = models[0], models[-1]
        for run, name in zip(runs, wanted):
            if name not in run.models:
                there = ", ".join(run.models)
                raise EscrimeError(f"{run.folder} has no model {name!r}; it holds {there}.{nearest(name, run.models)}")
        pairs = [wanted]
    else:
        pairs = [(name, name) for name in a.models if name in b.models]
        if not pairs and len(a.models) == len(b.models) == 1:
            pairs = [(a.models[0], b.models[0])]
    if not pairs:
        raise EscrimeError(
            f"{a.folder} holds {', '.join(a.models)} and {b.folder} {', '.join(b.models)}: no model of one name; say which "
            f"to compare with --models {a.models[0]},{b.models[0]}."
        )
    if a.folder.resolve() == b.folder.resolve() and any(x == y for x, y in pairs):
        other = next((name for name in a.models if name != pairs[0][0]), None)
        hint = f"give two of its models, such as --models {pairs[0][0]},{other}" if other else "give two runs"
        raise EscrimeError(f"{a.folder} is compared with itself; {hint}.")
    return pairs


def with_worst(records: pd.DataFrame) -> pd.DataFrame:
    """The attacks' rows, the worst case over all of them, and the clean images once per model and defense."""
    columns = [*records.columns, "by"]
    clean = records[records["eps"] == 0].drop_duplicates(["model", "defense", "image"])
    clean = clean.assign(attack=CLEAN, norm="", threat="")
    worst = worst_case(records)
    attacked = [rows[rows["eps"] > 0] for rows in (records, worst)]
    return pd.concat([clean, *attacked], ignore_index=True).reindex(columns=columns)


def compared(
    tables: Sequence[pd.DataFrame], models: tuple[str, str], attacks: tuple[str, ...], epsilons: tuple[float, ...]
) -> list[Row]:
    """Every group of rows that both sides have, as (models, defense, threat, attack, norm, comparison)."""
    keys = ["defense", "threat", "attack", "norm"]
    sides = [dict(iter(t[t["model"] == name].groupby(keys, sort=False))) for t, name in zip(tables, models)]
    found = []
    for key in sorted((key for key in sides[0] if key in sides[1]), key=rank):
        defense, threat, attack, norm = key
        if attack != CLEAN and attacks and attack not in attacks:
            continue
        # The sides get names of their own, since two versions of a model have one.
        both = pd.concat([side[key][NEEDED].assign(model=name) for side, name in zip(sides, ("first", "second"))])
        for eps in sorted(set(sides[0][key]["eps"]) & set(sides[1][key]["eps"])):
            if attack != CLEAN and epsilons and not any(same(eps, wanted) for wanted in epsilons):
                continue
            at = both[both["eps"] == eps]
            if set.intersection(*(set(own["image"]) for _, own in at.groupby("model"))):
                columns = ("second", defense, threat), ("first", defense, threat)
                found.append((models, defense, threat, attack, norm, compare(at, *columns, attack=attack, eps=eps)))
    return found


def rank(key: tuple[str, str, str, str]) -> tuple[bool | str, ...]:
    """Clean images first, the worst case last, undefended before defended, transfer before adaptive."""
    defense, threat, attack, norm = key
    return defense != "none", defense, threat == ADAPTIVE, threat, attack != CLEAN, attack.startswith(WORST), attack, norm


def nothing_common(
    folders: tuple[Path | str, Path | str], tables: Sequence[pd.DataFrame], attacks: Sequence[str], epsilons: Sequence[float]
) -> str:
    """Why there is no row to compare."""
    wanted = listing([*(f"attack {name!r}" for name in attacks), *(f"ε = {fraction_text(eps)}" for eps in epsilons)])
    known, labels = [], []
    for folder, table in zip(folders, tables):
        own = table[table["eps"] > 0]
        words = [
            unique(own["attack"]),
            unique(own["defense"] + " / " + own["threat"]),
            unique(map(fraction_text, sorted(own["eps"]))),
        ]
        known.append(f"{folder} has {words[0]} on {words[1]} at ε = {words[2]}" if len(own) else f"{folder} has no attack")
        labels += list(own["attack"].unique())
    hint = "".join(nearest(name, labels) for name in attacks if name not in labels)
    what = f"nothing for {wanted}" if wanted else "no defense, attack and ε"
    return f"{folders[0]} and {folders[1]} have {what} in common: {'; '.join(known)}.{hint}"


def unique(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def warnings(runs: tuple[Run, Run], tables: Sequence[pd.DataFrame], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What makes the two sides less alike than their names say."""
    notes = []
    about = [run.manifest.get("dataset", {}) for run in runs]
    if about[0].get("fingerprint") != about[1].get("fingerprint"):
        text = f"the images differ: {dataset(runs[0])} against {dataset(runs[1])}; those of one name are taken for the same"
        notes.append(text + ", which only you can know.")
    named = [label_names(run, table) for run, table in zip(runs, tables)]
    differing = [image for image, name in named[0].items() if named[1].get(image, name) != name]
    if differing:
        image = differing[0]
        notes.append(
            f"{len(differing)} images carry another label in the second run, such as {image}: {named[0][image]!r} against "
            f"{named[1][image]!r}."
        )
    settings = [run.manifest.get("experiment", {}) for run in runs]
    other = [name for name in SETTINGS if all(name in s for s in settings) and settings[0][name] != settings[1][name]]
    if other:
        notes.append(f"the runs were made with other settings ({', '.join(other)}): one name may mean two attacks.")
    for names in pairs:
        own = [t[(t["model"] == name) & (t["eps"] > 0) & ~t["attack"].str.startswith(WORST)] for t, name in zip(tables, names)]
        shared = set(own[0]["defense"]) & set(own[1]["defense"])  # a defense of one side alone is in no comparison
        own = [t[t["defense"].isin(shared)] for t in own]
        sets = [set(map(tuple, t[["defense", "attack"]].drop_duplicates().to_numpy())) for t in own]
        only = sorted({attack for _, attack in sets[0] ^ sets[1]})
        label = " and ".join(dict.fromkeys(names))
        if only:
            notes.append(f"{label}: the worst case is not over the same attacks; one side alone has {listing(only)}.")
        cases = ["defense", "attack", "norm", "threat"]
        runs_of = [{tuple(row) for row in t[cases].drop_duplicates().to_numpy()} for t in own]
        levels = {row for row in runs_of[0] ^ runs_of[1] if row[:2] in sets[0] & sets[1]}
        if levels:
            text = listing(sorted({f"{attack} ({threat})" for _, attack, _, threat in levels}))
            notes.append(f"{label}: the worst case is not over the same threat levels; one side alone has {text}.")
        grids = [{tuple(row) for row in t[[*cases, "eps"]].drop_duplicates().to_numpy()} for t in own]
        lone = sorted({(row[4], row[2]) for row in grids[0] ^ grids[1] if row[:4] in runs_of[0] & runs_of[1]})
        if lone:
            text = listing([fraction_text(eps, norm) for eps, norm in lone])
            notes.append(f"{label}: the worst case counts every smaller ε, and one side alone was attacked at ε = {text}.")
    return notes


def label_names(run: Run, table: pd.DataFrame) -> dict[str, str]:
    rows = table.drop_duplicates("image")
    return {image: run.class_name(int(label)) for image, label in zip(rows["image"], rows["label"])}


def dataset(run: Run) -> str:
    about = run.manifest.get("dataset", {})
    return f"{run.data_name or 'unnamed data'} ({about.get('size')} px, {str(about.get('fingerprint'))[:12]})"


def as_json(found: SideBySide) -> dict:
    """JSON values; `difference` is the second side minus the first, as fractions of 1."""
    rows = []
    for pair in found.pairs:
        c = pair.comparison
        sides = {}
        for side, accuracy in (("first", c.accuracy_second), ("second", c.accuracy_first)):
            low, high = interval(accuracy, c.n)
            sides[side] = {"accuracy": accuracy, "low": low, "high": high}
        rows.append(
            {
                "models": list(pair.models),
                **{name: getattr(pair, name) for name in ("defense", "threat", "attack", "norm")},
                **{"eps": c.eps, "n": c.n, **sides, "difference": c.difference, "low": c.low, "high": c.high},
                **{"gained": c.gained, "lost": c.lost, "test": c.test, "p": c.p, "p_holm": pair.p_holm},
                "verdict": pair.verdict,
            }
        )
    return {
        "runs": [str(folder) for folder in found.folders],
        "images": found.shared,
        "subset": found.subset,
        "warnings": found.warnings,
        "sentence": sentence(found),
        "rows": rows,
    }


def interval(accuracy: float, n: int) -> tuple[float, float]:
    """The Wilson interval of an accuracy over n images."""
    return wilson(accuracy * n, n)


def sentence(found: SideBySide) -> str:
    """The result in one sentence."""
    by = {word: [pair for pair in found.pairs if pair.verdict == word] for word in ("better", "worse")}
    many = f"{len(found.pairs)} comparison{'s' if len(found.pairs) > 1 else ''}"
    if not by["better"] and not by["worse"]:
        return f"Nothing tells the second from the first: {many} on up to {most(found)} images, corrected for their number."
    summary = (
        f"The second is better in {len(by['better'])} and worse in {len(by['worse'])} of {many}, corrected for their number."
    )
    last = max(by["better"] + by["worse"], key=lambda pair: abs(pair.comparison.difference))
    return f"{summary} The largest: {points_text(last.comparison.difference)} ({where(last)})."


def most(found: SideBySide) -> int:
    return int(np.max([pair.comparison.n for pair in found.pairs]))


def where(pair: Pair) -> str:
    """Which row, in words."""
    parts = [pair.models[1], pair.defense if pair.defense != "none" else "", pair.threat, pair.attack]
    return ", ".join(part for part in parts if part) + (
        f", ε = {fraction_text(pair.comparison.eps)}" if pair.attack != CLEAN else ""
    )
