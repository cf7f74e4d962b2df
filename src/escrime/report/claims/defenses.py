"""C6–C10: what PPA and adversarial training buy, as the paper attacked them, beside the attack that knows them."""

from collections.abc import Sequence

import numpy as np

from ...budgets import within
from ...results.threats import DEFENDED, TRANSFER, WHITE_BOX
from ..formatting import eps_text, percent
from ..intervals import Point
from ..paper_points import DGSM, FGSM
from .adaptive import adaptive, beside, only_ignored
from .evidence import Claim, Evidence, Version
from .verdicts import (
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    ClaimPart,
    Measured,
    Setting,
    about,
    above,
    below,
    capped,
    combine,
    not_tested,
)

PPA, HARDENED = "ppa", "adversarial-training"
SUDDEN = 0.10  # the undefended network must lose this much at the smallest ε for a success to be sudden
STRAIGHT = 0.10  # no point farther than this from the straight line: "roughly linear"
ONE_OF_FIFTY = 0.02  # the paper's resolution: one of its 50 images


def ppa_fgsm(evidence: Evidence) -> Measured:
    """C6. At the smallest ε at most half of the undefended loss is left, and the decline keeps to a straight line."""
    settings: Setting = {"attack": FGSM, "defense": PPA, "threat": TRANSFER}
    bare, averaged = evidence.sweep(FGSM), evidence.sweep(FGSM, PPA, TRANSFER)
    if bare is None or averaged is None:
        return not_tested("no FGSM sweep of PPA (transfer) beside the undefended network", **settings)
    place = evidence.place(averaged, 0.025)
    if place is None or bare.at(place.eps) is None:
        return not_tested("the run has no ε comparable with the paper's 0.025", **settings)
    position, here = averaged.index(place.eps), averaged.measured(place.eps)
    loss_bare, loss = -bare.change(0, bare.index(place.eps)), -averaged.change(0, position)
    gain = averaged.against(bare, place.eps)
    bend = distance_from_line(averaged.eps, [point.value for point in averaged.points()])
    straight = ClaimPart(
        REPRODUCED if bend <= STRAIGHT else NOT_REPRODUCED,
        f"the decline {'keeps' if bend <= STRAIGHT else 'does not keep'} within {100 * STRAIGHT:.0f} points of a "
        f"straight line (farthest {100 * bend:.1f})",
    )
    known = adaptive(evidence, PPA, FGSM)
    text = (
        f"transfer: {here.text} at ε = {eps_text(place.eps)} against {percent(bare.measured(place.eps).value)} undefended, "
        f"n = {here.n}; {beside(known, PPA)}"
    )
    if loss_bare.value < SUDDEN:
        # Half of the claim cannot be tested; the other half decides between "partly" and "not reproduced".
        why = f"nothing sudden to remove: undefended, ε = {eps_text(place.eps)} costs {100 * loss_bare.value:.1f} points"
        part = ClaimPart(PARTLY if straight.verdict == REPRODUCED else NOT_REPRODUCED, f"{why}; {straight.why}")
        return Measured(part.verdict, text, only_ignored(part, known), here, adaptive=known, **settings)
    if gain is None or gain.high <= 0 or loss.value > loss_bare.value / 2:
        calmer = ClaimPart(
            NOT_REPRODUCED, f"the first loss stays: {100 * loss.value:.1f} of {100 * loss_bare.value:.1f} points"
        )
    else:
        calmer = ClaimPart(
            REPRODUCED if gain.low > 0 else PARTLY,
            f"the first loss shrinks from {100 * loss_bare.value:.1f} to {100 * loss.value:.1f} points (gain {gain.points})",
        )
    part = combine(calmer, straight)
    part = capped(part, place.note) if place.scaled else part
    return Measured(part.verdict, text, only_ignored(part, known), here, adaptive=known, **settings)


def distance_from_line(eps: np.ndarray, values: Sequence[float]) -> float:
    """The largest distance of a point from the least-squares line, as a fraction."""
    heights = np.asarray(values)
    slope, start = np.polyfit(eps, heights, 1)
    return float(np.abs(heights - (start + slope * eps)).max())


def worst_of_dgsm(evidence: Evidence, defense: str, allowed: float, what: str, score: str) -> Measured:
    """C7 and C10: what DGSM gains at its best ε, in images called the target (score "hit") or lost ("correct")."""
    settings: Setting = {"attack": DGSM, "defense": defense, "threat": TRANSFER}
    sweep = evidence.sweep(DGSM, defense, TRANSFER)
    if sweep is None:
        return not_tested("no DGSM sweep of the defended network (transfer) on these images", **settings)
    end, note = evidence.reach(sweep)
    steps = [i for i, eps in enumerate(sweep.eps) if eps > 0 and within(eps, end)]
    gains = [sweep.change(0, i, "hit") if score == "hit" else -sweep.change(0, i) for i in steps]
    worst = max(gains, key=lambda point: point.value)
    part = below(worst, allowed, what)
    part = ClaimPart(part.verdict, f"{part.why}; {note}") if note else part
    known = adaptive(evidence, defense, DGSM, score, upto=end)
    unit = "called the target" if score == "hit" else "lost"
    text = (
        f"transfer: at most {worst.points} {unit} up to ε = {eps_text(end)} (at {eps_text(worst.eps)}), n = "
        f"{worst.n}; {beside(known, defense)}"
    )
    return Measured(part.verdict, text, only_ignored(part, known), worst, adaptive=known, **settings)


def clean_cost(evidence: Evidence, accuracy: float) -> Measured:
    """C8. Retraining costs clean accuracy, and leaves the paper's number."""
    settings: Setting = {"defense": HARDENED, "threat": WHITE_BOX}
    before, after = evidence.clean(), evidence.clean(HARDENED)
    if before is None or after is None:
        return not_tested("no adversarially trained network was scored on clean images", **settings)
    change, point = after.against(before, 0.0), after.point(0)
    if change is None:
        return not_tested("the two networks were not scored on the same clean images", **settings)
    text = f"{point.text} after retraining, {percent(before.point(0).value)} before ({change.points}), n = {change.n}"
    if change.value >= 0:
        why = "retraining costs no clean accuracy here"
        return Measured(NOT_REPRODUCED, text, why, point, **settings)
    if change.high < 0:
        costs = ClaimPart(REPRODUCED, "the whole interval of the change lies below zero")
    else:
        costs = ClaimPart(PARTLY, "the interval of the change includes zero")
    part = combine(costs, about(point, accuracy, f"the paper's {percent(accuracy)}", tolerance=0.02))
    return Measured(part.verdict, text, part.why, point, **settings)


def hardened_fgsm(evidence: Evidence, paper_eps: float, stays: bool) -> Measured:
    """C9. Wide ResNet is not below 30 % up to ε = 0.1; GoogLeNet is, at 0.05. Judged under both threat levels."""
    settings: Setting = {"attack": FGSM, "defense": HARDENED, "threat": "transfer, adaptive"}
    parts, texts = [], []
    first: Point | None = None
    for threat in DEFENDED:
        sweep = evidence.sweep(FGSM, HARDENED, threat)
        place = evidence.place(sweep, paper_eps) if sweep is not None else None
        if sweep is None or place is None:
            continue
        reach = (
            [point for point in sweep.points()[1:] if within(point.eps, place.eps)] if stays else [sweep.measured(place.eps)]
        )
        worst = min(reach, key=lambda point: point.value)
        part = above(worst, 0.3, "30%") if stays else below(worst, 0.3, "30%")
        part = capped(part, place.note) if place.scaled else part
        parts.append(
            ClaimPart(part.verdict, f"{threat}: {part.why}" + (f"; {place.note}" if place.note and not place.scaled else ""))
        )
        upto = "lowest up to" if stays else "at"
        texts.append(f"{threat}: {worst.text} {upto} ε = {eps_text(place.eps)}, n = {worst.n}")
        first = first or worst
    if not parts:
        return not_tested(f"no FGSM sweep of an adversarially trained network near ε = {eps_text(paper_eps)}", **settings)
    if len(parts) == 1:
        texts.append("the other threat level was not measured")
    part = combine(*parts)
    why = f"{part.why}; the paper does not say which network was attacked, so both must hold"
    return Measured(part.verdict, "; ".join(texts), why, first, adaptive=adaptive(evidence, HARDENED, FGSM), **settings)


_C6 = Version(
    "PPA removes FGSM's sudden success at very small ε and leaves a roughly linear decline.",
    "42% → 86% at ε = 0.025",
    ppa_fgsm,
)
_C7 = Version(
    "With PPA, DGSM changes at most 2 points of the answers.",
    "≤ 2 points",
    lambda e: worst_of_dgsm(e, PPA, 0.02, "2 points", "hit"),
)
CLAIMS = (
    Claim("C6", _C6, _C6),
    Claim("C7", _C7, _C7),
    Claim(
        "C8",
        Version(
            "Adversarial training costs clean accuracy: Wide ResNet-50-2 keeps 91%.",
            "91%",
            lambda e: clean_cost(e, 0.91),
        ),
        Version("Adversarial training costs clean accuracy: GoogLeNet keeps 70%.", "70%", lambda e: clean_cost(e, 0.70)),
    ),
    Claim(
        "C9",
        Version(
            "Adversarial training helps Wide ResNet-50-2 more: under FGSM it is not below 30% until ε > 0.1.",
            "≥ 30% up to ε = 0.1",
            lambda e: hardened_fgsm(e, 0.1, stays=True),
        ),
        Version(
            "Adversarial training helps GoogLeNet less: under FGSM it falls below 30% at ε = 0.05.",
            "< 30% at ε = 0.05",
            lambda e: hardened_fgsm(e, 0.05, stays=False),
        ),
    ),
    Claim(
        "C10",
        Version(
            "DGSM has no success on the retrained Wide ResNet-50-2 (read as: less than one of the paper's 50 images).",
            "0 points",
            lambda e: worst_of_dgsm(e, HARDENED, ONE_OF_FIFTY, "2 points, one of the paper's 50 images", "hit"),
        ),
        Version(
            "DGSM costs the retrained GoogLeNet at most 4 points.",
            "≤ 4 points",
            lambda e: worst_of_dgsm(e, HARDENED, 0.04, "4 points", "correct"),
        ),
    ),
)
