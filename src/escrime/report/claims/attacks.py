"""C1–C5: how good the undefended networks are, and what FGSM and DGSM do to them."""

import numpy as np

from ...budgets import within
from ..formatting import eps_text, percent
from ..intervals import Point
from ..paper_points import DGSM, FGSM
from ..sweep import Sweep
from .evidence import Claim, Evidence, Place, Version
from .verdicts import (
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    ClaimPart,
    Measured,
    about,
    above,
    below,
    capped,
    combine,
    not_tested,
)

NO_FGSM = "no FGSM sweep of the undefended network on these images"
NO_DGSM = "no DGSM sweep of the undefended network on these images"
SMALL_EPS = 8 / 255  # the usual bound of what is hard to see
HIGH_CONFIDENCE = 0.9


def clean_accuracy(evidence: Evidence) -> Measured:
    """C1. 99.9 % is reached when the interval reaches it."""
    clean = evidence.clean()
    if clean is None:
        return not_tested("no clean images were classified")
    point = clean.point(0)
    reached = point.high >= 0.999
    why = f"the interval {'reaches' if reached else 'ends below'} 99.9%"
    if reached and point.low < 0.99:
        why += f", but with {point.n} images it is wide"
    if (
        evidence.subset == "val"
        and evidence.pretrained
        and evidence.run.manifest.get("dataset", {}).get("name") == "imagenette"
    ):
        why += "; an ImageNet-pretrained network has seen 3,791 of the 3,925 val images in training"
    return Measured(REPRODUCED if reached else NOT_REPRODUCED, f"{point.text} of clean images, n = {point.n}", why, point)


def fgsm_drop(evidence: Evidence) -> Measured:
    """C2. More than 50 points lost at ε = 0.025."""
    sweep = evidence.sweep(FGSM)
    if sweep is None:
        return not_tested(NO_FGSM, attack=FGSM)
    place = evidence.place(sweep, 0.025)
    if place is None:
        return not_tested("the run has no ε comparable with the paper's 0.025", attack=FGSM)
    drop = -sweep.change(0, sweep.index(place.eps))
    part = above(drop, 0.5, "50 points")
    part = capped(part, place.note) if place.scaled else part
    return Measured(part.verdict, drop_text(sweep, place.eps, drop), with_note(part.why, place), drop, attack=FGSM)


def drop_text(sweep: Sweep, eps: float, drop: Point) -> str:
    there = sweep.measured(eps)
    return (
        f"{percent(sweep.point(0).value)} clean, {there.text} at ε = {eps_text(eps)}: a loss of "
        f"{100 * drop.value:.1f} points "
        f"[{100 * drop.low:.1f}, {100 * drop.high:.1f}], n = {drop.n}"
    )


def with_note(why: str, place: Place) -> str:
    return f"{why}; {place.note}" if place.note and not place.scaled else why


def fgsm_lowest(evidence: Evidence) -> Measured:
    """C3. As low as 23 % somewhere in the sweep, and that where the perturbation is hard to see."""
    sweep = evidence.sweep(FGSM)
    if sweep is None:
        return not_tested(NO_FGSM, attack=FGSM)
    points = sweep.points()[1:]
    lowest = min(points, key=lambda point: point.value)
    part = below(lowest, 0.23, "23%")
    small = [point for point in points if within(point.eps, SMALL_EPS)]
    text = f"lowest {lowest.text} at ε = {eps_text(lowest.eps)}, n = {lowest.n}"
    if small:
        faint = min(small, key=lambda point: point.value)
        text += f"; lowest up to 8/255 {faint.text} at ε = {eps_text(faint.eps)}"
        hidden = below(faint, 0.23, "23%")
        if hidden.verdict == REPRODUCED:
            part = ClaimPart(REPRODUCED, "reached within ε = 8/255, where a perturbation is hard to see")
        elif part.verdict != NOT_REPRODUCED:
            part = ClaimPart(PARTLY, f"{part.why}, but only beyond ε = 8/255, where the perturbation shows")
    elif part.verdict == REPRODUCED:
        part = ClaimPart(PARTLY, f"{part.why}, but no ε up to 8/255, where a perturbation is hard to see, was measured")
    return Measured(part.verdict, text, part.why, lowest, attack=FGSM)


def googlenet_fgsm(evidence: Evidence) -> Measured:
    """C4. About 73 points lost at 0.025, and 20 % reached at 0.3."""
    sweep = evidence.sweep(FGSM)
    if sweep is None:
        return not_tested(NO_FGSM, attack=FGSM)
    near, far = evidence.place(sweep, 0.025), evidence.place(sweep, 0.3)
    if near is None or far is None:
        return not_tested("the run has no ε comparable with the paper's 0.025 and 0.3", attack=FGSM)
    drop, last = -sweep.change(0, sweep.index(near.eps)), sweep.measured(far.eps)
    first = about(drop, 0.73, "73 points")
    part = combine(first, about(last, 0.20, "20%") if last.value > 0.2 else ClaimPart(REPRODUCED, "20% is reached"))
    part = capped(part, near.note) if near.scaled else part
    text = f"{drop_text(sweep, near.eps, drop)}; {last.text} at ε = {eps_text(far.eps)}"
    return Measured(part.verdict, text, with_note(part.why, near), drop, attack=FGSM)


def dgsm_all(evidence: Evidence) -> Measured:
    """C5. Every image called the target at ε = 0.014, with high confidence."""
    sweep = evidence.sweep(DGSM)
    if sweep is None:
        return not_tested(NO_DGSM, attack=DGSM)
    place = evidence.place(sweep, 0.014)
    if place is None:
        return not_tested("the run has no ε comparable with the paper's 0.014", attack=DGSM)
    position = sweep.index(place.eps)
    share = sweep.point(position, "hit")
    sure = sweep.confidence[position][sweep.hit[position] >= 0.5]
    confidence = float(np.median(sure)) if len(sure) else float("nan")
    if share.value >= 1 - 1e-9:
        part = ClaimPart(REPRODUCED, "every image is called the target")
    elif share.value >= 0.9:
        part = ClaimPart(PARTLY, "nearly every image is called the target")
    else:
        part = ClaimPart(NOT_REPRODUCED, f"{percent(1 - share.value)} of the images are not called the target")
    high = confidence >= HIGH_CONFIDENCE
    if share.value >= 0.9:
        sure_text = f"{'with' if high else 'but only with'} a median confidence of {percent(confidence)}"
        part = ClaimPart(part.verdict if high else PARTLY, f"{part.why}, {sure_text}")
    part = capped(part, place.note) if place.scaled else part
    target = evidence.run.class_name(sweep.target)
    text = f"{share.text} called “{target}” at ε = {eps_text(place.eps)}, median confidence {percent(confidence)}"
    text += f", n = {share.n}"
    full = next((point for point in sweep.points("hit") if point.value >= 1 - 1e-9), None)
    if full is not None and full.eps != place.eps:
        text += f"; all of them from ε = {eps_text(full.eps)}"
    return Measured(part.verdict, text, with_note(part.why, place), share, attack=DGSM)


_C1 = Version("The retrained network classifies 99.9% of the test images correctly.", "99.9%", clean_accuracy)
_C5 = Version(
    "DGSM makes the network call every image English springer at ε ≤ 0.014 (printed 0.14; the plot ends at 0.015), "
    "with high confidence.",
    "100% at ε = 0.014",
    dgsm_all,
)
CLAIMS = (
    Claim("C1", _C1, _C1),
    Claim(
        "C2",
        Version("FGSM costs Wide ResNet-50-2 more than 50 points already at ε = 0.025.", "> 50 points", fgsm_drop),
        None,
    ),
    Claim(
        "C3",
        Version("Accuracy falls as low as 23% without an obvious perturbation.", "23%", fgsm_lowest),
        None,
    ),
    Claim(
        "C4",
        None,
        Version(
            "FGSM costs GoogLeNet about 73 points at ε = 0.025, and leaves 20% at 0.3.",
            "≈ 73 points; 20%",
            googlenet_fgsm,
        ),
    ),
    Claim("C5", _C5, _C5),
)
