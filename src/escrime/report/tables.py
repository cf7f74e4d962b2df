"""The tables of the page: accuracies by ε × defense × threat, network passes, training, stages."""

from dataclasses import dataclass

import numpy as np

from .intervals import Point
from .run import Run
from .sweep import Sweep
from .words import defense_name, duration, eps_text


@dataclass(frozen=True)
class Table:
    """Rows are ε*, columns (defense, threat level, n); cells are points or None."""

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
                tables.append(one_table(attack, subset, f"% predicted as “{run.class_name(sweeps[0].target)}”", sweeps, "hit"))
            tables.append(one_table(attack, subset, "% correct", sweeps, "correct"))
    return tables


def one_table(attack: str, subset: str | None, measure: str, sweeps: list[Sweep], score: str) -> Table:
    grid = sorted({float(eps) for sweep in sweeps for eps in sweep.eps})
    counts = [{point.n for point in sweep.points(score)} for sweep in sweeps]
    columns = [
        (defense_name(sweep.defense), sweep.threat, "–".join(str(n) for n in sorted({min(count), max(count)})))
        for sweep, count in zip(sweeps, counts, strict=True)
    ]
    rows = [(eps_text(eps) + levels_text(eps), [sweep.at(eps, score) for sweep in sweeps]) for eps in grid]
    return Table(attack, subset, measure, columns, rows)


def levels_text(eps: float) -> str:
    """The same ε in 8-bit levels, such as " (6.4/255)"."""
    return f" ({eps * 255:.3g}/255)" if eps else ""


def passes(run: Run) -> list[dict]:
    """Forward and backward passes the attacks spent per image over their whole ε sweep, by model, attack and threat."""
    keys = ["model", "attack", "defense", "threat"]
    table = run.records[run.records["attack"] != "none"]
    rows = []
    for key, group in table.groupby(keys, sort=False):
        images = group["image"].nunique()
        spent = {name: float(np.nansum(group[name])) / images for name in ("forwards", "backwards")}
        rows.append(dict(zip(keys, key, strict=True)) | spent | {"images": images})
    order = {model: i for i, model in enumerate(run.models)}
    return sorted(rows, key=lambda row: (order.get(row["model"], 99), row["attack"] != "FGSM", row["defense"] != "none"))


def training_rows(run: Run) -> list[dict]:
    """The last epoch of every training log, with its own columns."""
    rows = []
    for model in run.models:
        for defense, log in run.training(model).items():
            if len(log):
                last = {str(name): value for name, value in log.iloc[-1].items()}
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
