"""The data behind the chart that answers when touched: every curve's points, as JSON for the page."""

import math

from .intervals import Point
from .paper_points import IMAGES, NETWORK, POINTS
from .run import Run
from .sweep import Sweep
from .words import defense_name, eps_text

# The page's names of the defenses' colors (report.css), so that the chart follows the theme.
SHADES = {"none": "orange", "ppa": "blue", "adversarial-training": "green"}
SPARE_SHADES = ("purple", "amber", "sky")
PAPER, WORST = "the paper’s points", "worst case up to ε*"


def chart(run: Run, model: str, eps: float | None = None) -> dict | None:
    """What one model's chart shows, opened at `eps`, ready for JSON; None where nothing was swept over at least two ε."""
    views = [view for subset in run.subsets for view in side_by_side(run, model, subset)]
    views += [view for attack in run.attacks(model) for subset in run.subsets for view in views_of(run, model, attack, subset)]
    return {"model": model, "eps": eps, "views": views} if views else None


def side_by_side(run: Run, model: str, subset: str | None) -> list[dict]:
    """All attacks in one view where there is one network and no defense to compare: what `escrime evaluate` asks."""
    if len(run.defenses(model)) != 1:
        return []
    sweeps = [run.sweep(model, *run.defenses(model)[0], attack, subset) for attack in run.attacks(model)]
    sweeps = [sweep for sweep in sweeps if sweep is not None and sweep.n and len(sweep.eps) > 1]
    if len(sweeps) < 2:
        return []
    shades = [*SHADES.values(), *SPARE_SHADES]
    curves = [
        curve(sweep, "correct") | {"defense": sweep.attack, "color": shades[i % len(shades)]} for i, sweep in enumerate(sweeps)
    ]
    title = "every attack, % correct" + (f", {subset} images" if subset else "")
    return [
        {"title": title, "attack": "every attack", "measure": "% correct", "kinds": "Attack", "curves": curves, "marks": []}
    ]


def views_of(run: Run, model: str, attack: str, subset: str | None) -> list[dict]:
    """One view per score of an attack: % correct and, for a targeted one, first % called the target."""
    sweeps = [run.sweep(model, defense, threat, attack, subset) for defense, threat in run.defenses(model)]
    sweeps = [sweep for sweep in sweeps if sweep is not None and sweep.n]
    if not sweeps or max(len(sweep.eps) for sweep in sweeps) < 2:
        return []
    where = f", {subset} images" if subset else ""
    scores = [("correct", "% correct")]
    if sweeps[0].targeted:
        scores.insert(0, ("hit", f"% called “{run.class_name(sweeps[0].target)}”"))
    return [
        {
            "title": f"{attack}, {measure}{where}",
            "attack": attack,
            "measure": measure,
            "curves": [curve(sweep, score) for sweep in sweeps],
            "marks": marks(run, model, attack, sweeps, score, subset),
        }
        for score, measure in scores
    ]


def curve(sweep: Sweep, score: str) -> dict:
    return {
        "defense": defense_name(sweep.defense),
        "threat": sweep.threat,
        "color": shade(sweep.defense),
        "points": numbers(sweep.points(score)),
    }


def marks(run: Run, model: str, attack: str, sweeps: list[Sweep], score: str, subset: str | None) -> list[dict]:
    """What stands beside the curves: the worst case up to each ε*, attacks known at one ε* only, the paper's points."""
    found = []
    if score == "correct":
        for sweep in sweeps:
            if not sweep.targeted:
                found.append(mark(WORST, sweep, numbers(run.envelope(sweep, subset).points())))
            for other in run.attacks(model):
                lone = run.sweep(model, sweep.defense, sweep.threat, other, subset)
                if lone is not None and len(lone.eps) == 1 and lone.n:
                    found.append(mark(f"{other} attack", sweep, numbers(lone.points())))
    # As in the still figures: only over the network that the paper attacked, and where its sweep is no smudge.
    last = max(float(sweep.eps[-1]) for sweep in sweeps)
    if run.stands_for(model) == NETWORK and score == ("hit" if sweeps[0].targeted else "correct"):
        for defense, points in POINTS.get(attack, {}).items():
            if max(points) >= last / 4 and any(sweep.defense == defense for sweep in sweeps):
                shown = [[eps, value, None, None, IMAGES] for eps, value in points.items() if eps <= last * 1.001]
                found.append(
                    {
                        "name": PAPER,
                        "defense": defense_name(defense),
                        "threat": None if defense == "none" else "transfer",
                        "color": shade(defense),
                        "points": shown,
                    }
                )
    return found


def mark(name: str, sweep: Sweep, points: list) -> dict:
    return {
        "name": name,
        "defense": defense_name(sweep.defense),
        "threat": sweep.threat,
        "color": shade(sweep.defense),
        "points": points,
    }


def numbers(points: list[Point]) -> list[list]:
    """[ε, percent, low, high, n] of every point that was measured; JSON knows no NaN."""
    return [
        [round(p.eps, 9), *(round(100 * share, 3) for share in (p.value, p.low, p.high)), p.n]
        for p in points
        if math.isfinite(p.value)
    ]


def shade(defense: str) -> str:
    """The CSS variable of a defense's color, the same choice as figures.style.color."""
    return SHADES.get(defense) or SPARE_SHADES[sum(defense.encode()) % len(SPARE_SHADES)]


def description(data: dict) -> str:
    """What the chart is, read aloud in place of its picture."""
    first = data["views"][0]
    names = dict.fromkeys(f"{c['defense']} ({c['threat']})" for c in first["curves"])
    last = max(point[0] for c in first["curves"] for point in c["points"])
    return (
        f"Chart of {first['measure']} of {data['model']} under {first['attack']} against ε* from 0 to {eps_text(last)}: "
        f"{', '.join(names)}. Left and right arrows move along ε*, up and down between curves."
    )
