"""The tables of the page: accuracies by ε × defense × threat, network passes, training, validity."""

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
                tables.append(
                    one_table(attack, subset, f"% predicted as “{run.class_name(sweeps[0].target)}”", sweeps, "hit")
                )
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
    """ " (6.4/255)", the same ε in 8-bit levels."""
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
    return sorted(
        rows, key=lambda row: (order.get(row["model"], 99), row["attack"] != "FGSM", row["defense"] != "none")
    )


def validity(run: Run) -> list[dict]:
    """What the records say about their own soundness: each a finding with its evidence."""
    attacked = run.records[(run.records["attack"] != "none") & (run.records["eps"] > 0)]
    if attacked.empty:
        return []
    verified = attacked["verified"].to_numpy(bool)
    targeted = attacked["target"] >= 0
    wrong = np.where(
        targeted, attacked["prediction"] == attacked["target"], attacked["prediction"] != attacked["label"]
    )
    changed = wrong & (attacked["distance"] > 0).to_numpy()
    survives = attacked["survives_8bit"].to_numpy(bool)[changed]
    broken = int((~verified).sum())
    found = [
        {
            "name": "Verification",
            "good": broken == 0,
            "text": f"{len(attacked) - broken:,} of {len(attacked):,} attacked images were found inside the box and within ε* by an "
            "independent check" + ("." if not broken else f"; the other {broken:,} are counted as not attacked."),
        }
    ]
    if len(survives):
        found.append(
            {
                "name": "8-bit images",
                "good": bool(survives.mean() >= 0.95),
                "text": f"{int(survives.sum()):,} of {len(survives):,} successful adversarial images ({survives.mean():.1%}) still "
                "succeed after rounding to 8 bits, as a saved file would be.",
            }
        )
    alone = [
        f"{model}, {defense_name(defense)}, {attack}"
        for model, defense, threat, attack in run.sweeps
        if threat == "transfer" and (model, defense, "adaptive", attack) not in run.sweeps
    ]
    found.append(
        {
            "name": "Adaptive attacks",
            "good": not alone,
            "text": "Every defense was also attacked by an attacker who knows it."
            if not alone
            else f"No adaptive attack was measured for {'; '.join(alone)}: those numbers hold only for an attacker who ignores the defense.",
        }
    )
    return found


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
