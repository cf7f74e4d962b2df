"""The tables of the page: accuracies by ε × defense × threat, paired tests, classes, network passes, training, stages."""

from dataclasses import dataclass

import numpy as np

from .. import norms
from ..budgets import same
from ..results.comparisons import Comparison, compare, per_class
from ..results.names import defense_name, place
from ..results.records import WORST, in_subset, worst_case
from ..results.statistics import holm
from ..results.threats import ADAPTIVE
from ..terminal import duration
from .formatting import fraction_text, level_text
from .intervals import Point
from .run import Run
from .sweep import Sweep

ALPHA = 0.05
MOST_CLASSES = 50  # rows of a class table: the weakest


@dataclass(frozen=True)
class Table:
    """Rows are ε, columns (defense, threat level, n); cells are points or None."""

    attack: str
    subset: str | None
    measure: str
    columns: list[tuple[str, str, str]]
    rows: list[tuple[str, list[Point | None]]]


def accuracy_tables(run: Run, model: str) -> list[Table]:
    """One table per attack and subset: % correct, and for a targeted attack also % predicted as the target."""
    tables = []
    for attack in run.attacks(model):
        for subset in run.subsets:
            sweeps = []
            for defense, threat in run.defenses(model):
                sweep = run.sweep(model, defense, threat, attack, subset)
                if sweep is not None and sweep.n:
                    sweeps.append(sweep)
            if not sweeps:
                continue
            if sweeps[0].targeted:
                tables.append(
                    one_table(
                        attack,
                        subset,
                        f"% predicted as “{run.class_name(sweeps[0].target)}”",
                        sweeps,
                        "hit",
                        run.norm_of(attack),
                    )
                )
            tables.append(one_table(attack, subset, "% correct", sweeps, "correct", run.norm_of(attack)))
    return tables


def one_table(
    attack: str, subset: str | None, measure: str, sweeps: list[Sweep], score: str, norm: str = norms.DEFAULT
) -> Table:
    grid = sorted({float(eps) for sweep in sweeps for eps in sweep.eps})
    counts = [{point.n for point in sweep.points(score)} for sweep in sweeps]
    columns = [
        (
            defense_name(sweep.defense),
            level_text(sweep.threat, norm),
            "–".join(str(n) for n in sorted({min(count), max(count)})),
        )
        for sweep, count in zip(sweeps, counts, strict=True)
    ]
    rows = [(budget_text(eps, norm), [sweep.at(eps, score) for sweep in sweeps]) for eps in grid]
    return Table(attack, subset, measure, columns, rows)


def budget_text(eps: float, norm: str) -> str:
    """ε, in l_inf in 8-bit levels: "0.025 (6.38/255)", "4/255"; else with what it counts or its norm: "1 (±30°, ±10 %)",
    "0.6 in l2"."""
    text, levels, counts = fraction_text(eps, norm), norms.norm(norm).per_value, norms.norm(norm).counts(eps)
    unit = f" ({eps * 255:.3g}/255)" if levels else f" ({counts})" if counts else f" in {norm}"
    return text if not eps or levels and "/" in text else text + unit


@dataclass(frozen=True)
class Test:
    """One defense under one threat level against the undefended network, or two at once against one of them (`against`);
    `corrected` is Holm's p over a model's tests."""

    __test__ = False  # for pytest, which collects what is called so

    name: str
    threat: str
    against: str
    comparison: Comparison
    corrected: float

    @property
    def gain(self) -> Point:
        found = self.comparison
        return Point(found.eps, found.difference, found.low, found.high, found.n)

    @property
    def averaged(self) -> bool:
        """Whether a score is an average over noise draws."""
        return "McNemar" not in self.comparison.test

    @property
    def verdict(self) -> str:
        """In words: better, worse, or nothing that so few images can show."""
        if self.corrected >= ALPHA:
            return f"no difference that {self.comparison.n} images can show"
        return "better" if self.comparison.difference > 0 else "worse"


def paired_tests(run: Run, model: str, eps: float | None) -> list[Test]:
    """Under the attack of the first lines: every defense of a model, transfer and adaptive, against none at `eps`, on the
    images both have; two at once ("a+b") also against each of the two, under the same threat level, and there under every
    attack too: are they complementary?
    """
    records = in_subset(run.records[run.records["model"] == model], run.main_subset)
    bare = run.first_sweep(model)
    if eps is None or bare is None or bare.at(eps) is None:
        return []
    found = []
    for defense, threat in run.defenses(model):
        sweep = run.sweep(model, defense, threat, bare.attack, run.main_subset)
        if defense == "none" or sweep is None:
            continue
        parts = [run.sweep(model, part, threat, bare.attack, run.main_subset) for part in defense.split("+") if part != defense]
        for other in (bare, *filter(None, parts)):
            if (gain := sweep.against(other, eps)) is not None and gain.n:
                first, second = (model, defense, threat), (model, other.defense, other.threat)
                tested = compare(records, first, second, attack=bare.attack, eps=eps)
                found.append((defense_name(defense), threat, defense_name(other.defense), tested))
                if parts and threat == ADAPTIVE:
                    tested = compare(worst_case(records), first, second, attack=WORST, eps=eps)
                    found.append((defense_name(defense), f"{threat}, worst case", defense_name(other.defense), tested))
    corrected = holm([comparison.p for *_, comparison in found])
    return [Test(*row, float(p)) for row, p in zip(found, corrected, strict=True)]


@dataclass(frozen=True)
class ClassTable:
    """Rows are (class, n, cells), weakest first, cells points or None; columns (defense, threat level or "clean")."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str, int, list[Point | None]]]
    classes: int


def class_table(run: Run, model: str, eps: float | None) -> ClassTable | None:
    """Accuracy by class under the attack of the first lines at `eps`, weakest first by the mean over the attacked columns."""
    bare, rows = run.first_sweep(model), run.records
    if eps is None or bare is None:
        return None
    rows = in_subset(rows[(rows["model"] == model) & (rows["attack"] == bare.attack)], run.main_subset)
    shares = per_class(rows[same(rows["eps"], eps) | ((rows["eps"] == 0) & (rows["defense"] == "none"))])
    cells: dict[tuple[str, str], dict[int, Point]] = {}
    for row in shares.to_dict("records"):
        column = (row["defense"], "clean" if row["eps"] == 0 else row["threat"])
        cells.setdefault(column, {})[row["class"]] = Point(*(row[name] for name in ("eps", "accuracy", "low", "high", "n")))
    wanted = [("none", "clean"), *run.defenses(model)]
    columns = [column for column in wanted if column in cells]
    attacked = [column for column in columns if column[1] != "clean"]
    if not attacked:
        return None
    labels = sorted({label for column in columns for label in cells[column]})

    def weakness(label: int) -> float:
        values = [cells[column][label].value for column in attacked if label in cells[column]]
        return float(np.mean(values)) if values else 2.0

    listed = []
    for label in sorted(labels, key=weakness)[:MOST_CLASSES]:
        points = [cells[column].get(label) for column in columns]
        listed.append((run.class_name(label), max(point.n for point in points if point), points))
    return ClassTable([(defense_name(defense), threat) for defense, threat in columns], listed, len(labels))


def passes(run: Run) -> list[dict]:
    """Forward and backward passes the attacks spent per image over their whole ε sweep, by model, attack and threat."""
    keys = ["model", "attack", "defense", "threat"]
    table = run.records[run.records["attack"] != "none"]
    rows = []
    for key, group in table.groupby(keys, sort=False):
        images = group["image"].nunique()
        spent = {name: float(np.nansum(group[name])) / images for name in ("forwards", "backwards")}
        about = dict(zip(keys, key, strict=True)) | {"threat": level_text(str(key[3]), str(group["norm"].iloc[0]))}
        rows.append(about | spent | {"images": images})
    order = {(model, attack): i for i, (model, attack) in enumerate((m, a) for m in run.models for a in run.attacks(m))}
    return sorted(rows, key=lambda row: (order[row["model"], row["attack"]], place(row["defense"])))


def training_rows(run: Run) -> list[dict]:
    """The last epoch of every training log, with its own columns; what was not measured then is left out."""
    rows = []
    for model in run.models:
        for defense, log in run.training(model).items():
            if len(log):
                last = {str(name): value for name, value in log.iloc[-1].items() if value == value}
                rows.append(
                    {
                        "model": model,
                        "training": "clean" if defense == "none" else defense_name(defense),
                        "values": last,
                    }
                )
    return rows


def stage_rows(run: Run) -> list[tuple[str, str]]:
    stages = [(stage["name"], float(stage["seconds"])) for stage in run.manifest.get("stages", [])]
    rows = [(name, duration(seconds)) for name, seconds in stages]
    return [*rows, ("in all", duration(sum(seconds for _, seconds in stages)))] if len(rows) > 1 else rows
