"""Figures 3 and 5 (the undefended network), 6 (PPA), 7 (adversarial training, other defenses): scores against ε."""

from pathlib import Path

from matplotlib.axes import Axes

from ...errors import listing
from ...results.manners import SINGLE
from ...results.names import defense_name
from ...results.threats import ADAPTIVE, TRANSFER
from ..formatting import eps_text, percent, slug
from ..interactive import shades
from ..intervals import Point
from ..paper_points import DGSM, FGSM
from ..run import Run
from ..sweep import Sweep
from . import curves
from .style import THEME, Drawn, headline, new_figure, save

DEFENDED = {"fig6": "ppa", "fig7": "adversarial-training"}
SUFFIXES = {FGSM: "", DGSM: "-dgsm"}  # of the files of figures 6 and 7, by attack


def subset_note(run: Run) -> str:
    return f" on the {run.main_subset} images" if run.main_subset else ""


def fgsm_undefended(run: Run, model: str, folder: Path) -> Drawn:
    """Figure 3: accuracy under FGSM above box plots of the confidence."""
    drawn = Drawn("fig3", model, f"{model} under FGSM")
    sweep = run.undefended(model, FGSM, run.main_subset)
    if sweep is None or not sweep.n or sweep.targeted:
        drawn.skipped = "no FGSM sweep of the undefended network is recorded"
        return drawn
    figure = new_figure(6.4, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.11, right=0.98, bottom=0.09, top=0.84, hspace=0.1)
    headline(figure, drawn.title)
    curves.draw_curve(top, sweep)
    envelope = run.envelope(sweep, run.main_subset)
    curves.draw_envelope(top, envelope)
    for subset in run.subsets[1:]:
        other = run.undefended(model, FGSM, subset)
        if other is not None and other.n:
            curves.draw_curve(top, other, label=f"undefended, {subset} images", faint=True)
    overlay = curves.draw_paper(top, run.stands_for(model), FGSM, "none", sweep.eps[-1])
    curves.draw_confidence(bottom, sweep)
    curves.frame_axes(top, sweep.eps, xlabel="", ylabel="% correct")
    curves.frame_axes(bottom, sweep.eps, norm=run.norm_of(FGSM), ylabel="confidence in %")
    curves.legend_above(top)
    drawn.png, drawn.svg = save(figure, folder, f"fig3-{slug(model)}")
    last = len(sweep.eps) - 1
    drawn.caption = (
        f"Accuracy of {model} under FGSM ({sweep.threat}{subset_note(run)}, n = {curves.count_text(sweep)}), shaded with "
        f"its 95% Wilson interval: {fall_text(sweep)}. Below, the confidence of the predicted class: median "
        f"{median_confidence(sweep, 0)} at ε = {eps_text(sweep.eps[0])}, {median_confidence(sweep, last)} at ε = "
        f"{eps_text(sweep.eps[last])} "
        "(boxes are quartiles, whiskers 5–95%)." + envelope_note(run, [(sweep, envelope)]) + paper_note(overlay)
    )
    drawn.alt = f"Line chart of percent correct against ε: {fall_text(sweep)}; below it, box plots of confidence."
    return drawn


def dgsm_undefended(run: Run, model: str, folder: Path) -> Drawn:
    """Figure 5: the share of images predicted as the target under DGSM."""
    drawn = Drawn("fig5", model, f"{model} under DGSM")
    sweep = run.undefended(model, DGSM, run.main_subset)
    if sweep is None or not sweep.n or not sweep.targeted:
        drawn.skipped = "no DGSM sweep of the undefended network is recorded"
        return drawn
    target = run.class_name(sweep.target)
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.11, right=0.98, bottom=0.13, top=0.76)
    headline(figure, drawn.title)
    curves.draw_curve(axes, sweep, "hit")
    for subset in run.subsets[1:]:
        other = run.undefended(model, DGSM, subset)
        if other is not None and other.n:
            curves.draw_curve(axes, other, "hit", label=f"undefended, {subset} images", faint=True)
    overlay = curves.draw_paper(axes, run.stands_for(model), DGSM, "none", sweep.eps[-1])
    floor = draw_floor(axes, sweep)
    curves.frame_axes(axes, sweep.eps, ylabel=f"% predicted as “{target}”")
    curves.legend_above(axes)
    drawn.png, drawn.svg = save(figure, folder, f"fig5-{slug(model)}")
    drawn.caption = (
        f"Images that {model} calls “{target}” under DGSM ({sweep.threat}{subset_note(run)}, n = "
        f"{curves.count_text(sweep)}), with "
        f"95% Wilson intervals: {rise_text(sweep)}. {floor}Images of that class are left as they are and counted."
        + paper_note(overlay)
    )
    drawn.alt = f"Line chart of percent predicted as {target} against ε: {rise_text(sweep)}."
    return drawn


def defended(run: Run, model: str, folder: Path, name: str, attack: str) -> Drawn:
    """Figures 6 and 7: a defense under the attack that ignores it, beside the attack that knows it.

    Accuracy stands above box plots of the confidence; under an attack that aims at a class, the share called that class stands
    alone.
    """
    defense = DEFENDED[name]
    stem = name + SUFFIXES[attack]
    drawn = Drawn(stem, model, f"{model} with {defense_name(defense)} under {attack}", wide=True)
    known = [(t, run.sweep(model, defense, t, attack, run.main_subset)) for t in TITLES]
    pairs = [(threat, sweep) for threat, sweep in known if sweep is not None and sweep.n]
    if not pairs:
        drawn.skipped = f"no {attack} sweep of {defense_name(defense)} is recorded"
        return drawn
    targeted = pairs[0][1].targeted
    score, boxes = "hit" if targeted else "correct", not targeted
    ylabel = "% correct" if boxes else f"% predicted as “{run.class_name(pairs[0][1].target)}”"
    height, above = (6.4, 1.4) if boxes else (4.4, 1.2)  # inches; above: titles and legend
    figure = new_figure(9.2, height)
    grid = figure.subplots(1 + boxes, 2, sharex=True, sharey=True, squeeze=False, height_ratios=(3, 2)[: 1 + boxes])
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.55 / height, top=1 - above / height, hspace=0.1, wspace=0.06)
    headline(figure, drawn.title)
    reference = run.undefended(model, attack, run.main_subset)
    overlay, envelopes, epsilons = False, [], sorted({float(eps) for _, sweep in pairs for eps in sweep.eps})
    recorded = dict(pairs)
    for column, threat in enumerate(TITLES):
        top, sweep = grid[0, column], recorded.get(threat)
        curves.frame_axes(
            top, epsilons, norm=run.norm_of(attack), xlabel="" if boxes else None, ylabel=ylabel if column == 0 else ""
        )
        top.set_title(TITLES[threat], loc="left", pad=72 * above - 40)
        if sweep is None:
            top.text(0.5, 0.5, "not measured", transform=top.transAxes, ha="center")
            continue
        curves.draw_curve(top, sweep, score)
        if boxes:
            envelopes.append((sweep, run.envelope(sweep, run.main_subset)))
            curves.draw_envelope(top, envelopes[-1][1])
        if reference is not None and reference.n:
            curves.draw_curve(top, reference, score, faint=True)
        if threat == TRANSFER:
            overlay = curves.draw_paper(top, run.stands_for(model), attack, defense, epsilons[-1])
        curves.legend_above(top)
        if boxes:
            curves.draw_confidence(grid[1, column], sweep)
            curves.frame_axes(
                grid[1, column], epsilons, norm=run.norm_of(attack), ylabel="confidence in %" if column == 0 else ""
            )
    drawn.png, drawn.svg = save(figure, folder, f"{stem}-{slug(model)}")
    drawn.caption, drawn.alt = defended_words(run, defense, pairs, envelope_note(run, envelopes), overlay)
    return drawn


def others(run: Run, model: str, folder: Path) -> Drawn | None:
    """Beside figure 7: every defense that the paper does not have, under FGSM; None where there are none."""
    paired = [(d, t) for d, t in run.defenses(model) if d not in ("none", *DEFENDED.values())]
    found = [sweep for d, t in paired if (sweep := run.sweep(model, d, t, FGSM, run.main_subset)) is not None and sweep.n]
    if not found:
        return None
    drawn = Drawn("fig7-others", model, f"{model} with other defenses under FGSM", wide=True)
    names, hexes = shades(run), {name: hex for hex, name in THEME.items()}
    defenses = list(dict.fromkeys(sweep.defense for sweep in found))
    # Defenses that share a color, from the fourth one on, differ in their lines.
    lines = {d: LINES[[names[e] for e in defenses[:place]].count(names[d]) % len(LINES)] for place, d in enumerate(defenses)}
    above = 0.6 + 0.17 * (1 + len(defenses))
    figure = new_figure(9.2, 3.2 + above)
    panels = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.55 / (3.2 + above), top=1 - above / (3.2 + above), wspace=0.06)
    headline(figure, drawn.title)
    reference, epsilons = run.undefended(model, FGSM, run.main_subset), {float(eps) for sweep in found for eps in sweep.eps}
    for axes, threat in zip(panels, TITLES, strict=True):
        curves.frame_axes(axes, epsilons, norm=run.norm_of(FGSM), ylabel="% correct" if axes is panels[0] else "")
        axes.set_title(TITLES[threat], loc="left", pad=72 * above - 40)
        for sweep in (sweep for sweep in found if sweep.threat == threat):
            curves.draw_curve(axes, sweep, shade=hexes[names[sweep.defense]], line=lines[sweep.defense])
        if reference is not None and reference.n:
            curves.draw_curve(axes, reference, faint=True)
        curves.legend_above(axes)
    drawn.png, drawn.svg = save(figure, folder, f"fig7-others-{slug(model)}")
    seen = "; ".join(f"{defense_name(s.defense)}, {s.threat}, {fall_text(s)} (n = {curves.count_text(s)})" for s in found)
    drawn.caption = (
        f"Accuracy of {model} with the defenses that the paper does not have{subset_note(run)}: {seen}; shaded, the 95% "
        "Wilson intervals; gray and dashed, the undefended network."
    )
    if run.manner(FGSM) == SINGLE:
        drawn.caption += " A single step is a weak attack: the verdicts say what the strongest one leaves."
    drawn.alt = f"Two line charts against ε, transfer and adaptive: {seen}."
    return drawn


LINES = ("-", "-.", ":")
TITLES = {TRANSFER: "transfer: the attack ignores the defense", ADAPTIVE: "adaptive: the attack knows the defense"}


def defended_words(run: Run, defense: str, pairs: list[tuple[str, Sweep]], worst: str, overlay: bool) -> tuple[str, str]:
    """Caption and alternative text of a defended sweep, threat by threat."""
    first = pairs[0][1]
    tell = rise_text if first.targeted else fall_text
    seen = listing([f"under the {threat} attack, {tell(sweep)} (n = {curves.count_text(sweep)})" for threat, sweep in pairs])
    draws = f" Scores are averages over {first.draws} fresh draws of the noise per image." if first.draws > 1 else ""
    boxes = " Below, the confidence of the predicted class (quartiles, whiskers 5–95%)." if not first.targeted else ""
    what = f"Images called “{run.class_name(first.target)}”" if first.targeted else "Accuracy"
    caption = (
        f"{what} with {defense_name(defense)}{subset_note(run)}: {seen}; shaded, the 95% Wilson intervals; gray and "
        f"dashed, the undefended network.{boxes}{worst}{draws}{paper_note(overlay)}"
    )
    return caption, f"Two line charts against ε, transfer and adaptive: {seen}."


def envelope_note(run: Run, pairs: list[tuple[Sweep, Sweep]]) -> str:
    """What the thin dashed line is, and why the curve may rise above it; nothing where none was drawn."""
    if not pairs:
        return ""
    adaptive = any(sweep.threat == ADAPTIVE for sweep, _ in pairs)
    smaller = "any smaller ε and, knowing the defense, also examples made without it" if adaptive else "any smaller ε too"
    noisy, unsplit = (any(known) for known in zip(*(run.chance(sweep) for sweep, _ in pairs), strict=True))
    but = ", but for the noise of the draws" if noisy else ""
    note = (
        " The solid line steps by exactly ε; thin and dashed is the worst case up to ε, image by image, of an attacker "
        f"who may take {smaller}, so it never rises{but}."
    )
    gaps = [(gap, eps, sweep) for sweep, worst in pairs for gap, eps in losses_of_sweep(sweep, worst)]
    gap, eps, sweep = max(gaps, key=lambda found: found[0], default=(0.0, 0.0, pairs[0][0]))
    if gap > 0:
        causes = ["a single step overshoots" if run.manner(sweep.attack) == SINGLE else "the attack at exactly ε falls short"]
        if sweep.defense == "adversarial-training":
            causes.append("in a network trained on such steps gives the label away (label leaking)")
        if sweep.threat == ADAPTIVE:
            causes.append("is weaker than the examples made without the defense")
        note += (
            f" Between the two lie up to {100 * gap:.1f} points ({sweep.threat}, ε = {eps_text(eps)}): there "
            f"{', or '.join(causes)}, and the network is no safer for it."
        )
    if unsplit:
        note += " These records keep no noise draws apart for the choice, so the worst case is somewhat too low."
    return note


def losses_of_sweep(sweep: Sweep, envelope: Sweep) -> list[tuple[float, float]]:
    """(how far the curve lies above its envelope, ε) at every ε both have, on the images both have."""
    found = [(sweep.against(envelope, float(eps)), float(eps)) for eps in sweep.eps]
    return [(gap.value, eps) for gap, eps in found if gap is not None and gap.n]


def draw_floor(axes: Axes, sweep: Sweep) -> str:
    """A dotted line at the share called the target before any attack, and a sentence; nothing without clean images."""
    if sweep.eps[0] != 0:
        return ""
    floor = sweep.point(0, "hit").value
    axes.axhline(100 * floor, color=curves.MUTED, linewidth=1, linestyle=":", label=f"no attack: {percent(floor)}")
    return f"The dotted floor of {percent(floor)} is reached without any attack. "


def fall_text(sweep: Sweep) -> str:
    """First and lowest accuracy, as in "98.0% at ε = 0, lowest 22.0% at ε = 0.3"."""
    points = sweep.points()
    lowest = min(points[1:] or points, key=lambda point: point.value)
    return f"{at_eps(points[0])}, lowest {at_eps(lowest)}"


def rise_text(sweep: Sweep) -> str:
    """First and highest share called the target."""
    points = sweep.points("hit")
    highest = max(points[1:] or points, key=lambda point: point.value)
    return f"{at_eps(points[0])}, highest {at_eps(highest)}"


def at_eps(point: Point) -> str:
    return f"{percent(point.value)} at ε = {eps_text(point.eps)}"


def median_confidence(sweep: Sweep, position: int) -> str:
    row = sweep.confidence[position]
    row = sorted(row[row == row])
    middle = len(row) // 2
    return percent(float(row[middle]) if len(row) % 2 else float(row[middle - 1] + row[middle]) / 2)


def paper_note(overlay: bool) -> str:
    return " Crosses: the paper's own points (50 images)." if overlay else ""
