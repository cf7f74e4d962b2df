"""The first lines of the page: one sentence and four numbers per model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..norms import norm
from ..results.crossings import crossings
from ..results.manners import SINGLE, UNIVERSAL
from ..results.names import defense_name
from ..results.records import WORST, in_subset, worst_case
from ..results.threats import ADAPTIVE, DEFENDED, TRANSFER, UNDEFENDED
from ..results.union import Union
from ..results.verdicts import Verdict
from .formatting import fraction_text, percent
from .intervals import Point
from .run import Run
from .sweep import Sweep, one_sweep


@dataclass(frozen=True)
class Number:
    """One number of a tile: what it is, its point, and what a defense gained over the undefended network there."""

    label: str
    point: Point | None
    gain: Point | None = None


@dataclass(frozen=True)
class Tile:
    title: str
    numbers: list[Number]


@dataclass(frozen=True)
class Headline:
    """What one model's part of the first screen shows; notes: sentences on numbers that seem to contradict each other."""

    model: str
    eps: float | None
    sentence: str
    tiles: list[Tile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def headline_eps(run: Run) -> float | None:
    """The ε of the first lines; None without a sweep of an attack on an undefended network.

    It is the experiment's, else the smallest measured one at which the attack takes half of the first network's accuracy.
    """
    sweep = next((found for model in run.models if (found := run.first_sweep(model)) is not None), None)
    if sweep is None or not sweep.n or sweep.eps[-1] == 0:
        return None
    wanted = run.manifest.get("experiment", {}).get("headline_eps")
    positive = [float(eps) for eps in sweep.eps if eps > 0]
    if isinstance(wanted, int | float) and wanted > 0:
        return min(positive, key=lambda eps: abs(eps - wanted))
    points = sweep.points()
    half = [p.eps for p in points[1:] if p.value <= points[0].value / 2]
    return half[0] if half else min((p for p in points if p.eps > 0), key=lambda p: p.value).eps


def headlines(run: Run) -> dict[str, float]:
    """Norm → the ε of the first lines, of every norm of a run: where several threats were asked for the first of each, else the
    one of all, to which the nearest counts (see `verdict_eps`)."""
    eps = headline_eps(run)
    asked = run.manifest.get("experiment", {}).get("threats") or {}
    first = {
        name: norm(name).epsilon(asked[name][0]) if asked.get(name) else eps for name in map(str, run.records["norm"].unique())
    }
    return {name: eps for name, eps in first.items() if eps is not None}


def headline(
    run: Run, model: str, eps: float | None, verdicts: Sequence[Verdict] = (), unions: Sequence[Union] = ()
) -> Headline:
    """The sentence and the tiles of one model at `eps`; what its `verdicts` or `unions` show comes first, before any single
    attack."""
    bare, kept = run.first_sweep(model), kept_text(verdicts) or "".join(f"{union.sentence} " for union in unions)
    if eps is None or bare is None or not bare.n or (attacked := bare.at(eps)) is None:
        at = f" at ε = {fraction_text(eps, run.norm)}" if eps is not None and bare is not None and bare.n else ""
        return Headline(model, None, f"{kept}{model} was not attacked{at} without a defense.")
    clean, attack = bare.at(0.0), bare.attack
    tiles = [Tile("clean images", [Number("undefended", clean)])] if clean else []
    single = Tile(f"{attack}, ε\u00a0=\u00a0{fraction_text(eps, run.norm)}", [Number(f"undefended, {bare.threat}", attacked)])
    worst = worst_of_all(run, model)
    if worst is not None and worst.at(eps) is not None:
        least = Number(f"undefended, {worst.threat}", worst.at(eps))
        tiles.append(Tile(f"worst case of all attacks, ε\u00a0=\u00a0{fraction_text(eps, run.norm)}", [least]))
    tiles.append(single)
    worth = []
    for defense in dict.fromkeys(defense for defense, _ in run.defenses(model) if defense != "none"):
        numbers = [number(run, model, defense, threat, bare, eps) for threat in DEFENDED]
        strongest = None
        if worst is not None and (lowest := worst_of_all(run, model, defense)) is not None and lowest.at(eps):
            strongest = lowest.against(worst, eps)
            numbers.append(Number(f"worst case of all attacks ({lowest.threat})", lowest.at(eps), strongest))
        tiles.append(Tile(f"{defense_name(defense)} under {attack}, ε\u00a0=\u00a0{fraction_text(eps, run.norm)}", numbers))
        worth.append((defense_name(defense), numbers[0].gain, numbers[1].gain, strongest))
    to = percent(attacked.value)
    if clean and percent(clean.value) == to:
        change = f"leaves {model} at {to} correct"
    else:
        change = f"takes {model} {f'from {percent(clean.value)} ' if clean else ''}to {to} correct"
    size = norm(run.norm).said(eps)
    one = ", one perturbation for all images," if run.manner(attack) == UNIVERSAL else ""
    what = f"One gradient step of {size} ({attack})" if run.manner(attack) == SINGLE else f"{attack}{one} at {size}"
    sentence = f"{what} {change}"
    gains = worth_text(worth)
    sentence = f"{kept}{sentence}; {gains}." if gains else f"{kept}{sentence}."
    rows = in_subset(run.records[run.records["model"] == model], run.main_subset)
    return Headline(model, eps, sentence, tiles, [found.sentence for found in crossings(rows, worst_case(rows))])


def kept_text(verdicts: Sequence[Verdict]) -> str:
    """As in: net keeps 12.0% [8.5, 16.6] of 250 images right at ε = 0.025 in the worst case, with PPA 14.0% [9.1, 20.9] of
    150 (not as it stands). With a space behind; "" without verdicts."""
    parts: list[str] = []
    before = ""
    for verdict in verdicts:
        share = f"{percent(verdict.accuracy)} [{100 * verdict.low:.1f}, {100 * verdict.high:.1f}] of {verdict.n}"
        where = norm(verdict.norm).said(verdict.eps)
        defense = "" if verdict.defense == "none" else f"with {defense_name(verdict.defense)} "
        if not parts:
            with_it = f" {defense.strip()}" if defense else ""
            text = f"{verdict.model}{with_it} keeps {share} images right at {where} in the worst case"
        else:
            text = f"{defense}{share}" + ("" if where == before else f" at {where}")
        before = where
        parts.append(text + ("" if verdict.believe else " (not as it stands)"))
    return f"{', '.join(parts)}. " if parts else ""


def worst_of_all(run: Run, model: str, defense: str = "none") -> Sweep | None:
    """The model's accuracy in the worst case over all attacks up to each ε, where there are several; with a defense, under the
    attacker who knows it, where there is one."""
    rows = in_subset(run.records, run.main_subset)
    own = (rows["model"] == model) & (rows["defense"] == defense)
    rows = worst_case(rows[own & ((rows["norm"] == run.norm) | (rows["eps"] == 0))])
    levels = UNDEFENDED if defense == "none" else DEFENDED[::-1]
    threat = next((level for level in levels if (rows["threat"] == level).any()), None)
    if threat is None:
        return None
    rows = rows[rows["threat"] == threat]
    if rows["by"].nunique() < 2 or rows["attack"].nunique() > 1:
        return None
    return one_sweep(model, defense, threat, WORST, rows)


def number(run: Run, model: str, defense: str, threat: str, bare: Sweep, eps: float) -> Number:
    """A defense's accuracy at `eps` under one threat level, and its gain over no defense on the same images."""
    label = {TRANSFER: "attacker ignores it", ADAPTIVE: "attacker knows it"}[threat]
    sweep = run.sweep(model, defense, threat, bare.attack, run.main_subset)
    point = sweep.at(eps) if sweep is not None and sweep.n else None
    return Number(f"{label} ({threat})", point, sweep.against(bare, eps) if sweep is not None and point else None)


def worth_text(gains: list[tuple[str, Point | None, Point | None, Point | None]]) -> str:
    """As in: PPA is worth +51.0 points against an attacker who ignores it but +2.3 against one who knows it, in the worst case
    of all attacks +1.2 …"""
    parts, spelled = [], False
    for name, ignored, known, strongest in gains:
        if ignored and known and spelled:
            parts.append(f"{name} {signed(ignored)} and {signed(known)}")
        elif ignored:
            parts.append(f"{name} is worth {signed(ignored, ' points')} against an attacker who ignores it")
            clear = known and not (unclear(ignored) and unclear(known))
            but = "but" if known and clear and known.value < ignored.value else "and"
            parts[-1] += f" {but} {signed(known)} against one who knows it" if known else " (one who knows it: not measured)"
            spelled = spelled or known is not None
        elif known:
            parts.append(f"{name} is worth {signed(known, ' points')} against an attacker who knows it")
        if strongest and (ignored or known):
            parts[-1] += f", in the worst case of all attacks {signed(strongest)}"
    return ", ".join(parts)


def signed(gain: Point, unit: str = "") -> str:
    """The gain in points with its sign; "nothing clear" where its interval holds zero."""
    number = f"{100 * gain.value:+.1f}{unit}".replace("-", "−")
    return f"nothing clear ({number})" if unclear(gain) else number


def unclear(gain: Point) -> bool:
    return gain.low <= 0 <= gain.high
