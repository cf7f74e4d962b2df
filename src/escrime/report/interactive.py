"""The data behind the chart that shows values when touched: every curve's points, as JSON for the page."""

import math
from itertools import cycle

from ..norms import norm
from ..results.names import defense_name
from ..results.threats import TRANSFER
from .formatting import eps_axis, eps_text, fraction_text, in_levels
from .intervals import Point
from .paper_points import IMAGES, paper_points
from .run import Run
from .sweep import Sweep

# The page's names of the colors (report.css), so that the chart follows the theme.
SHADES = {"none": "orange", "ppa": "blue", "adversarial-training": "green", "adversarial-training+ppa": "purple"}
SPARE_SHADES = ("amber", "deep", "ink")
PAPER, WORST = "the paper’s points", "worst case up to ε"


def chart(run: Run, model: str, eps: float | None = None) -> dict | None:
    """What one model's chart shows, opened at `eps`, ready for JSON; None where nothing was swept over at least two ε."""
    views = [view for subset in run.subsets for view in side_by_side(run, model, subset)]
    views += [view for attack in run.attacks(model) for subset in run.subsets for view in views_of(run, model, attack, subset)]
    if not views:
        return None
    return {"model": model, "eps": eps, "views": views}


def in_its_norm(view: dict, name: str) -> dict:
    """A view with what its ε counts, and those ε that the script does not write itself, such as 4/255."""
    points = {point[0] for curve in view["curves"] for point in curve["points"]}
    written = [[value, text] for value in sorted(points) if "/" in (text := fraction_text(value, name))]
    counted = {"levels": norm(name).per_value, "fractions": in_levels(points, name)}
    return view | {"norm": name, "axis": eps_axis(name), "written": written} | counted


def side_by_side(run: Run, model: str, subset: str | None) -> list[dict]:
    """All attacks of a norm in one view where there is one network and no defense to compare: what `escrime evaluate` asks."""
    if len(run.defenses(model)) != 1:
        return []
    found = [run.sweep(model, *run.defenses(model)[0], attack, subset) for attack in run.attacks(model)]
    by_norm: dict[str, list[Sweep]] = {run.norm: []}
    for sweep in found:
        if sweep is not None and sweep.n and len(sweep.eps) > 1:
            by_norm.setdefault(run.norm_of(sweep.attack), []).append(sweep)
    several = len({run.norm_of(attack) for attack in run.attacks(model)}) > 1
    return [every_attack(sweeps, name, several, subset) for name, sweeps in by_norm.items() if len(sweeps) > 1]


def every_attack(sweeps: list[Sweep], name: str, several: bool, subset: str | None) -> dict:
    """One view of all attacks in a norm, which its title names where there are several."""
    curves = [
        curve(sweep, "correct", {sweep.defense: color}) | {"defense": sweep.attack}
        for sweep, color in zip(sweeps, cycle([*SHADES.values(), *SPARE_SHADES]))
    ]
    every = "every attack" + (norm(name).in_words or f" in {norm(name).title}") * several
    title = f"{every}, % correct" + (f", {subset} images" if subset else "")
    view = {"title": title, "attack": every, "measure": "% correct", "kinds": "Attack", "curves": curves, "marks": []}
    return in_its_norm(view, name)


def views_of(run: Run, model: str, attack: str, subset: str | None) -> list[dict]:
    """One view per score of an attack: % correct and, for a targeted one, first % called the target."""
    found = [run.sweep(model, defense, threat, attack, subset) for defense, threat in run.defenses(model)]
    sweeps = [sweep for sweep in found if sweep is not None and sweep.n]
    if not sweeps or max(len(sweep.eps) for sweep in sweeps) < 2:
        return []
    where, colors = f", {subset} images" if subset else "", shades(run)
    scores = [("correct", "% correct")]
    if sweeps[0].targeted:
        scores.insert(0, ("hit", f"% called “{run.class_name(sweeps[0].target)}”"))
    views = [
        {
            "title": f"{attack}, {measure}{where}",
            "attack": attack,
            "measure": measure,
            "curves": [curve(sweep, score, colors) for sweep in sweeps],
            "marks": marks(run, model, attack, sweeps, score, subset, colors),
        }
        for score, measure in scores
    ]
    return [in_its_norm(view, run.norm_of(attack)) for view in views]


def curve(sweep: Sweep, score: str, colors: dict[str, str]) -> dict:
    return {
        "defense": defense_name(sweep.defense),
        "threat": sweep.threat,
        "color": colors[sweep.defense],
        "points": numbers(sweep.points(score)),
    }


def marks(
    run: Run, model: str, attack: str, sweeps: list[Sweep], score: str, subset: str | None, colors: dict[str, str]
) -> list[dict]:
    """What stands beside the curves: the worst case up to each ε, attacks known at one ε only, the paper's points."""
    found = []
    if score == "correct":
        for sweep in sweeps:
            if not sweep.targeted:
                found.append(mark(WORST, sweep, colors, numbers(run.envelope(sweep, subset).points())))
            for other in (other for other in run.attacks(model) if run.norm_of(other) == run.norm_of(attack)):
                lone = run.sweep(model, sweep.defense, sweep.threat, other, subset)
                if lone is not None and len(lone.eps) == 1 and lone.n:
                    found.append(mark(f"{other} attack", sweep, colors, numbers(lone.points())))
    last = max(float(sweep.eps[-1]) for sweep in sweeps)
    if score == ("hit" if sweeps[0].targeted else "correct"):
        for defense in dict.fromkeys(sweep.defense for sweep in sweeps):
            points = paper_points(run.stands_for(model), attack, defense, last)
            if points:
                found.append(
                    {
                        "name": PAPER,
                        "defense": defense_name(defense),
                        "threat": None if defense == "none" else TRANSFER,
                        "color": colors[defense],
                        "points": [[eps, value, None, None, IMAGES] for eps, value in points.items()],
                    }
                )
    return found


def mark(name: str, sweep: Sweep, colors: dict[str, str], points: list) -> dict:
    return {
        "name": name,
        "defense": defense_name(sweep.defense),
        "threat": sweep.threat,
        "color": colors[sweep.defense],
        "points": points,
    }


def numbers(points: list[Point]) -> list[list]:
    """[ε, percent, low, high, n] of every point that was measured; JSON knows no NaN."""
    return [
        [p.eps, *(round(100 * share, 3) for share in (p.value, p.low, p.high)), p.n] for p in points if math.isfinite(p.value)
    ]


def shades(run: Run) -> dict[str, str]:
    """The CSS variable of each defense's color, the same for all models of a run: the paper's have their own, the others the
    spare ones by order of appearance."""
    defenses = dict.fromkeys(defense for model in run.models for defense, _ in run.defenses(model))
    return dict(zip((d for d in defenses if d not in SHADES), cycle(SPARE_SHADES))) | SHADES


def description(data: dict) -> str:
    """What the chart is, read aloud in place of its picture."""
    first = data["views"][0]
    names = dict.fromkeys(f"{c['defense']} ({c['threat']})" for c in first["curves"])
    last = max(point[0] for c in first["curves"] for point in c["points"])
    return (
        f"Chart of {first['measure']} of {data['model']} under {first['attack']} against ε from 0 to {eps_text(last)}: "
        f"{', '.join(names)}. Left and right arrows move along ε, up and down between curves."
    )
