"""C11 and C12: the remarks of the paper's analysis, from the measurements in analysis/MODEL.json."""

from math import nan

from ...errors import listing
from ...results.statistics import holm
from ..intervals import Point
from ..paper_points import DGSM
from .defenses import HARDENED
from .evidence import Claim, Evidence, Version
from .verdicts import NOT_REPRODUCED, PARTLY, REPRODUCED, Measured, Setting, not_tested


def image_features(evidence: Evidence) -> Measured:
    """C11. The pattern follows its own image's edges more than other images' edges: an interval above 0."""
    found = evidence.run.analysis(evidence.model).get("C11")
    settings: Setting = {"attack": DGSM}
    if not found or found.get("value") is None:
        return not_tested("the run did not measure the pattern of DGSM's perturbations", **settings)
    point = Point(nan if found.get("eps") is None else found["eps"], found["value"], found["low"], found["high"], found["n"])
    if point.low > 0:
        verdict, why = REPRODUCED, "the whole interval lies above 0, what a pattern that ignores the image would score"
    elif point.high < 0:
        verdict, why = (
            NOT_REPRODUCED,
            "the whole interval lies below 0, what a pattern that ignores the image would score",
        )
    else:
        verdict, why = PARTLY, "the interval includes 0, what a pattern that ignores the image would score"
    text = f"{found['measure']}: {point.value:.3g} [{point.low:.3g}, {point.high:.3g}], n = {point.n}"
    return Measured(verdict, text, why, point, **settings)


def flatter(evidence: Evidence) -> Measured:
    """C12. The loss rises less after adversarial training: a ratio of mean rises below 1 with its interval."""
    found = evidence.run.analysis(evidence.model).get("C12") or {}
    settings: Setting = {"defense": HARDENED}
    measures = corrected([found.get("measures", {})])[0]
    rise = measures.get("loss_rise", {}).get(HARDENED, {})
    if rise.get("ratio") is None:
        return not_tested("the run did not measure the loss surface before and after adversarial training", **settings)
    point = Point(nan, rise["ratio"], rise["ratio_low"], rise["ratio_high"], found["n"])
    p = rise.get("p")
    if p is not None and p > 0.05 and not point.low <= 1 <= point.high:
        # A few images with almost no gradient before or after can carry the ratio far from 1.
        verdict, why = (
            PARTLY,
            f"the interval lies on one side of 1, but the signed-rank test does not agree (p = {p:.2g})",
        )
    elif point.high < 1:
        verdict, why = REPRODUCED, "the whole interval lies below 1: flatter after adversarial training"
    elif point.low > 1:
        verdict, why = NOT_REPRODUCED, "the whole interval lies above 1: steeper after adversarial training"
    else:
        verdict, why = PARTLY, "the interval includes 1"
    against = steeper(measures)
    if verdict == REPRODUCED and against:
        # FGSM is what the network was trained against: what else was measured may say the contrary.
        verdict, why = (
            PARTLY,
            f"{why}, by the rise under FGSM; but steeper by {listing([name.replace('_', ' ') for name in against])}",
        )
    text = f"rise of the loss under FGSM, after / before {point.value:.3g} [{point.low:.3g}, {point.high:.3g}], n = {point.n}"
    text += f", p = {p:.2g} (Holm)" if p is not None else ""
    for name, networks in measures.items():
        if {"none", HARDENED} <= set(networks):
            before, after = (networks[state]["mean"] for state in ("none", HARDENED))
            text += f"; mean {name.replace('_', ' ')} {before:.3g} → {after:.3g}"
    return Measured(verdict, text, why, point, **settings)


def corrected(analyses: list[dict]) -> list[dict]:
    """The measures of one or several analyses with every p corrected (Holm) for the number of tests in them all."""
    rows = [row for measures in analyses for networks in measures.values() for row in networks.values() if "p" in row]
    sure = iter(holm([row["p"] for row in rows]).tolist())
    return [
        {
            measure: {name: row | ({"p": next(sure)} if "p" in row else {}) for name, row in networks.items()}
            for measure, networks in measures.items()
        }
        for measures in analyses
    ]


def steeper(measures: dict) -> list[str]:
    """The measures by which the hardened network is steeper: the ratio's whole interval above 1, and the paired test agrees."""
    rows = {name: networks.get(HARDENED, {}) for name, networks in measures.items()}
    return [
        name for name, row in rows.items() if row.get("ratio") is not None and row["ratio_low"] > 1 and row.get("p", 1) < 0.05
    ]


_C11 = Version("DGSM's perturbation shows features of the image.", "seen in its figure 8", image_features)
_C12 = Version("Adversarial training lands in a flatter region of the loss (a speculation of the paper).", "flatter", flatter)
CLAIMS = (Claim("C11", _C11, _C11, per_subset=False), Claim("C12", _C12, _C12, per_subset=False))
