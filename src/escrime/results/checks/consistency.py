"""Checks for attacks that contradict each other or themselves.

Sources: Carlini et al. (2019), On evaluating adversarial robustness, section 4 (what must hold of any attack); Wong et al.
(2020), Fast is better than free, and Kim et al. (2021), Understanding catastrophic overfitting.
"""

from typing import Any

import numpy as np
import pandas as pd

from ...budgets import eps_text
from ...catastrophic_overfitting import resists_one_step_only
from ...norms import norm
from ..findings import Finding
from ..manners import EXHAUSTED
from ..statistics import Difference, holm
from .curves import FEWEST, NOTABLE, Curve, by_case, has_stronger, per_case, score_difference
from .registry import record_check

SURE = 0.01  # p from which a contradiction is one, corrected for the number of comparisons
GRAY = 0.5  # the share of the color range from which every image may become the same gray,
LEFT = 0.1  # and what an attack may leave there;
LEFT_OF_ANY = 0.05  # at ε = 1, where any image is allowed


@record_check(10)
def iterated_weaker(curves: list[Curve]) -> list[Finding]:
    """Many steps include the single one. Not under transfer, where single steps often carry over better."""
    tried = []
    for own in by_case([curve for curve in curves if curve.known and not curve.targeted]):
        for many, one in ((a, b) for a in own for b in own if a.iterated and b.manner == "single"):
            tried += [(many, one, eps, *score_difference(many.at[eps], one.at[eps])) for eps in many.at if eps in one.at]
    if not tried:
        return []
    sure = holm([p for *_, p in tried]) < SURE
    fired = [row for row, clear in zip(tried, sure) if clear and row[3].value >= NOTABLE]

    def describe(rows: list[tuple[Curve, Curve, float, Difference, float]]) -> Finding:
        many, one, eps, difference, p = max(rows, key=lambda row: row[3].value)
        pairs = {f"{a.attack} at {eps_text(e)}": round(a.accuracy(e), 4) for a, *_, e, _, _ in rows}
        pairs |= {f"{b.attack} at {eps_text(e)}": round(b.accuracy(e), 4) for _, b, e, *_ in rows}
        return Finding(
            "iterated-weaker",
            "alarm",
            f"{many.attack} leaves {many.accuracy(eps):.1%} right at ε = {eps_text(eps)} and the single step of {one.attack} "
            f"{one.accuracy(eps):.1%}: the gradient or the attack is broken",
            {"images": difference.n, "difference": round(difference.value, 4), "p": p, "accuracy": pairs},
            "Look for a gradient that misleads; give the attack more steps, a smaller step size or another loss.",
            **many.about,
            answered=has_stronger([c for c in curves if c.case == many.case]) and not many.stronger,
        )

    return per_case(fired, describe) or [
        Finding(
            "iterated-weaker",
            "passed",
            f"No attack of many steps leaves clearly more right than a single step ({len(tried)} comparisons)",
            {"comparisons": len(tried)},
        )
    ]


@record_check(20)
def accuracy_rises(curves: list[Curve]) -> list[Finding]:
    """A larger ε allows everything that a smaller one does."""
    # What tries all there is fails at no ε: a severer corruption is another one.
    untargeted = [c for c in curves if not c.targeted and len(c.at) > 1 and c.manner != EXHAUSTED]
    fired = [(curve, *rise) for curve in untargeted if (rise := largest_rise(curve))]

    def excused(curve: Curve) -> bool:
        return curve.manner == "single" or not curve.known

    def describe(rows: list[tuple[Curve, float, float, Difference]]) -> Finding:
        bad = [row for row in rows if not excused(row[0])]
        curve, low, high, difference = max(bad or rows, key=lambda row: row[3].value)
        rise = f"from {curve.accuracy(low):.1%} at ε = {eps_text(low)} to {curve.accuracy(high):.1%} at ε = {eps_text(high)}"
        if bad:
            message = f"Accuracy under {curve.attack} rises {rise}: the attack, or the gradient it follows, fails at large ε"
            remedy = "Give the attack more steps; until then the worst case up to each ε is the number to believe."
        elif curve.known:
            message = (
                f"Accuracy under {curve.attack} rises {rise}: a single step of fixed size overshoots the errors that lie "
                "closer, and a network trained on such steps reads the label off them (label leaking)"
            )
            remedy = "Read the worst case up to each ε, in which an attacker may also take a smaller step."
        else:
            message = (
                f"Accuracy under {curve.attack} rises {rise}: made for another network, a larger step can carry over worse"
            )
            remedy = "Read the worst case up to each ε, and the attacker who knows the defense."
        evidence: dict[str, Any] = {c.attack: {f"{e:.4g}": round(c.accuracy(e), 4) for e in c.at} for c, *_ in rows}
        evidence |= {"images": difference.n, "rise": round(difference.value, 4), "rise at least": round(difference.low, 4)}
        answered = bool(bad) and has_stronger([c for c in curves if c.case == curve.case]) and not curve.stronger
        severity = "warning" if bad else "note"
        return Finding("accuracy-rises", severity, message, evidence, remedy, **curve.about, answered=answered)

    if not untargeted:
        return []
    passed = f"No untargeted attack becomes clearly weaker as ε grows ({len(untargeted)} curves)"
    return per_case(fired, describe) or [Finding("accuracy-rises", "passed", passed, {"curves": len(untargeted)})]


def largest_rise(curve: Curve) -> tuple[float, float, Difference] | None:
    """(ε, larger ε, difference) where accuracy rises most from its lowest point so far, if it rises clearly."""
    grid = list(curve.at)
    values = [curve.accuracy(eps) for eps in grid]
    pairs = [(int(np.argmin(values[:end])), end) for end in range(1, len(grid))]
    low, high = (grid[k] for k in max(pairs, key=lambda pair: values[pair[1]] - values[pair[0]]))
    difference, _ = score_difference(curve.at[high], curve.at[low])
    return (low, high, difference) if difference.value >= NOTABLE and difference.low > 0 else None


@record_check(30)
def no_full_success(curves: list[Curve]) -> list[Finding]:
    """Within ε = 0.5 in l_inf every image can be turned to gray, and within 1 into any other image, unless a mask holds
    pixels back."""
    far = [c for c in curves if c.iterated and c.known and not c.masked and max(c.at) >= GRAY * norm(c.norm).largest]

    def stands(curve: Curve) -> bool:
        rows = curve.at[max(curve.at)]
        # The class that gray belongs to may keep its images, if nothing but gray is in reach of all.
        commonest = float(rows["label"].value_counts(normalize=True).iloc[0])
        limit = LEFT_OF_ANY if max(curve.at) >= 1 else max(LEFT, commonest)
        left = curve.accuracy(max(curve.at))
        return left > limit and left * len(rows) >= FEWEST - 0.5

    def describe(rows: list[tuple[Curve]]) -> Finding:
        curve = max((row[0] for row in rows), key=lambda c: c.accuracy(max(c.at)))
        eps, last = max(curve.at), curve.at[max(curve.at)]
        what = "any image" if eps >= 1 else "the same gray for every image"
        left, used = curve.accuracy(eps), float(last.loc[last["correct"] >= 0.5, "distance"].median())
        evidence = {"images": len(last), "eps": eps, "accuracy": round(left, 4)}
        evidence |= {"median distance of those that stand": round(used, 4)} if np.isfinite(used) else {}
        others = [c for c in curves if c.case == curve.case and c.stronger and c is not curve and eps in c.at]
        return Finding(
            "no-full-success",
            "alarm",
            f"{curve.attack} with ε = {eps_text(eps)}, which allows {what}, leaves {left:.1%} of {len(last)} images right: "
            "it does not find what must exist",
            evidence,
            "The gradient leads nowhere or the steps do not reach that far: check both, and add a score-based attack.",
            **curve.about,
            answered=any(not stands(c) for c in others),
        )

    if not far:
        return []
    message = f"At the largest ε, where every image can be made the same, attacks of many steps win ({len(far)} curves)"
    fired = [(curve,) for curve in far if stands(curve)]
    return per_case(fired, describe) or [Finding("no-full-success", "passed", message, {"curves": len(far)})]


@record_check(60)
def overfitting(curves: list[Curve]) -> list[Finding]:
    """A network that one step barely hurts and many steps break has learned to resist the single step. Where ε counts or sums
    what few values move, any network resists it: which of them to move is no matter of one gradient."""
    tried = []
    for own in by_case([c for c in curves if c.known and not c.targeted and not norm(c.norm).sparse]):
        for one, many in ((a, b) for a in own for b in own if a.manner == "single" and b.iterated):
            for eps in (eps for eps in one.at if eps in many.at):
                images = one.at[eps].index.intersection(many.at[eps].index)
                a, b = one.at[eps].loc[images], many.at[eps].loc[images]
                clean = float((a["clean_prediction"] == a["label"]).mean()) if len(images) else 0.0
                tried.append((one, many, eps, clean, float(a["correct"].mean()), float(b["correct"].mean()), len(images)))
    fired = [row for row in tried if row[6] and resists_one_step_only(*row[3:6])]

    def describe(rows: list[tuple[Curve, Curve, float, float, float, float, int]]) -> Finding:
        one, many, eps, clean, first, last, n = max(rows, key=lambda row: row[4] - row[5])
        return Finding(
            "overfitting",
            "alarm",
            f"{one.attack} leaves {first:.1%} right at ε = {eps_text(eps)} ({clean:.1%} clean) and {many.attack} {last:.1%}: "
            "only the single step is resisted (catastrophic overfitting)",
            {"images": n, "eps": eps, "clean": round(clean, 4), one.attack: round(first, 4), many.attack: round(last, 4)},
            "Never quote its FGSM accuracy; train with a random start (N-FGSM) or more steps (PGD), or stop earlier.",
            **one.about,
            answered=has_stronger([c for c in curves if c.case == one.case]),
        )

    if not tried:
        return []
    message = f"Nowhere does a model resist the single step only ({len(tried)} comparisons)"
    return per_case(fired, describe) or [Finding("overfitting", "passed", message, {"comparisons": len(tried)})]


@record_check(70)
def targeted_disagrees(curves: list[Curve]) -> list[Finding]:
    """An image that an attack towards one class gets misclassified is one that an untargeted attack missed."""
    tried = []
    for own in by_case([c for c in curves if c.known]):
        untargeted = [c for c in own if c.iterated]
        for aimed in (c for c in own if c.targeted):
            for eps, rows in aimed.at.items():
                others = [c.at[eps]["correct"] for c in untargeted if eps in c.at]
                if others:
                    left = pd.concat(others, axis=1).min(axis=1).reindex(rows.index).dropna()
                    found = rows.loc[left.index, "correct"]
                    tried.append((aimed, eps, [str(i) for i in left.index[(left >= 0.5) & (found < 0.5)]], len(left)))
    fired = [row for row in tried if len(row[2]) >= max(FEWEST, NOTABLE * row[3])]

    def describe(rows: list[tuple[Curve, float, list[str], int]]) -> Finding:
        aimed, eps, missed, n = max(rows, key=lambda row: len(row[2]) / row[3])
        return Finding(
            "targeted-disagrees",
            "warning",
            f"{aimed.attack}, aimed at one class, gets {len(missed)} of {n} images misclassified at ε = {eps_text(eps)} that "
            "every untargeted attack of many steps left right",
            {"images": n, "eps": eps, "missed": len(missed), "some of them": missed[:10]},
            "Add a targeted attack to the evaluation (AutoAttack has one) and read the worst case over all attacks.",
            **aimed.about,
            answered=True,  # the worst case over all attacks counts them
        )

    if not tried:
        return []
    message = f"Targeted attacks find hardly anything that untargeted ones missed ({len(tried)} comparisons)"
    return per_case(fired, describe) or [Finding("targeted-disagrees", "passed", message, {"comparisons": len(tried)})]
