"""What the records say about their own soundness: findings with evidence, for "Can it be believed?"."""

from dataclasses import dataclass

import numpy as np

from .run import Run
from .sweep import Sweep
from .words import defense_name, eps_text, percent

# A difference is worth a finding from five points on, when its whole interval has the same sign.
NOTABLE = 0.05


@dataclass(frozen=True)
class Check:
    """One finding: whether it is as it should be, and the evidence with what follows from it."""

    name: str
    good: bool
    text: str


def validity(run: Run) -> list[Check]:
    """All findings, in reading order."""
    attacked = run.records[(run.records["attack"] != "none") & (run.records["eps"] > 0)]
    if attacked.empty:
        return []
    found = [verification(attacked), rounding(attacked), both_threats(run), adaptive_is_strongest(run), growing(run)]
    return [check for check in found if check is not None]


def verification(attacked) -> Check:
    """Every attacked image in the box and within ε."""
    broken = int((~attacked["verified"].to_numpy(bool)).sum())
    counts = f"{len(attacked) - broken:,} of {len(attacked):,}"
    text = f"{counts} attacked images are inside the box and within ε*, checked independently"
    return Check(
        "Verification",
        not broken,
        f"{text}; the other {broken:,} are counted as not attacked." if broken else f"{text}.",
    )


def rounding(attacked) -> Check | None:
    """Successful examples that survive being saved as 8-bit images."""
    prediction = attacked["prediction"].to_numpy()
    aimed = attacked["target"].to_numpy() >= 0
    fooled = np.where(aimed, prediction == attacked["target"], prediction != attacked["label"])
    fooled &= attacked["distance"].to_numpy() > 0
    survives = attacked["survives_8bit"].to_numpy(bool)[fooled]
    if not len(survives):
        return None
    return Check(
        "8-bit images",
        bool(survives.mean() >= 0.95),
        f"{int(survives.sum()):,} of {len(survives):,} successful adversarial images ({survives.mean():.1%}) still "
        "succeed after rounding to 8 bits, as a saved file would be.",
    )


def both_threats(run: Run) -> Check | None:
    """Every defense under the attack that knows it."""
    defended = [key for key in run.sweeps if key[2] in ("transfer", "adaptive")]
    if not defended:
        return None
    alone = [
        f"{model}, {defense_name(defense)}, {attack}"
        for model, defense, threat, attack in defended
        if threat == "transfer" and (model, defense, "adaptive", attack) not in run.sweeps
    ]
    if not alone:
        return Check("Threat levels", True, "Every defense was also attacked by an attacker who knows it.")
    return Check(
        "Threat levels",
        False,
        f"No adaptive attack was measured for {'; '.join(alone)}: those numbers hold only for an attacker who ignores "
        "the defense.",
    )


def adaptive_is_strongest(run: Run) -> Check | None:
    """An attacker who knows a defense may also ignore it: where that does better, the adaptive attack is too weak."""
    weak, compared = [], 0
    for (model, defense, threat, attack), ignored in run.sweeps.items():
        known = run.sweeps.get((model, defense, "adaptive", attack))
        if threat != "transfer" or known is None:
            continue
        compared += 1
        score, sign = ("hit", -1) if known.targeted else ("correct", 1)
        gaps = [gap for eps in known.eps[1:] if (gap := known.against(ignored, float(eps), score)) is not None]
        gaps = [gap if sign > 0 else -gap for gap in gaps]
        worst = max(gaps, key=lambda gap: gap.value, default=None)
        if worst is not None and worst.low > 0 and worst.value >= NOTABLE:
            both = [percent(sweep.at(worst.eps, score).value) for sweep in (known, ignored.shared_with(known))]
            what = "called the target" if known.targeted else "correct"
            weak.append(
                f"{model}, {defense_name(defense)}, {attack}, ε* = {eps_text(worst.eps)}: {both[0]} against {both[1]} {what}"
            )
    if not compared:
        return None
    if not weak:
        return Check(
            "Adaptive attacks",
            True,
            "Nowhere is the adaptive attack clearly weaker than the one that ignores the defense.",
        )
    return Check(
        "Adaptive attacks",
        False,
        f"Weaker than the attack that ignores the defense at {'; '.join(weak)}. An attacker takes the better of the "
        "two, so the worse number is the one to believe; more gradient draws or steps may strengthen the adaptive one.",
    )


def growing(run: Run) -> Check:
    """A larger ε allows everything a smaller one does: a rise means the attack overshoots or gradients mislead it."""
    rises = []
    for (model, defense, threat, attack), sweep in run.sweeps.items():
        if attack != "none" and not sweep.targeted and (rise := largest_rise(sweep)):
            rises.append(f"{model}, {defense_name(defense)}, {threat}, {attack} ({rise})")
    if not rises:
        return Check("Growing ε*", True, "No untargeted attack becomes clearly weaker as ε* grows.")
    return Check(
        "Growing ε*",
        False,
        f"The attack becomes weaker as ε* grows for {'; '.join(rises)}. A step of fixed size can overshoot; a stronger "
        "attack with many steps would not, so the lowest number up to each ε* is the one to believe.",
    )


def largest_rise(sweep: Sweep) -> str:
    """Where accuracy rises clearly from its lowest point so far: "42.0% at 0.025 then 58.0% at 0.1"; else ""."""
    values = [point.value for point in sweep.points()]
    pairs = [(int(np.argmin(values[1:end])) + 1, end) for end in range(2, len(values))]
    start, end = max(pairs, key=lambda pair: values[pair[1]] - values[pair[0]], default=(0, 0))
    rise = sweep.change(start, end)
    if end == 0 or rise.value < NOTABLE or not rise.low > 0:
        return ""
    return " then ".join(f"{percent(values[i])} at {eps_text(float(sweep.eps[i]))}" for i in (start, end))
