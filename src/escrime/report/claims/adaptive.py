"""The number beside every defense: what is left of it when the attacker knows it."""

from math import inf

from ...budgets import within
from ...results.names import defense_name
from ...results.threats import ADAPTIVE, TRANSFER
from ..formatting import eps_text, percent
from ..intervals import Point
from ..sweep import Sweep
from .evidence import Evidence
from .verdicts import NOT_REPRODUCED, Adaptive, ClaimPart

# A difference counts from five points on.
LOSS = 0.05
FALLS, WEAKENS, NO_GAIN, HOLDS = "falls", "weakens", "gains nothing", "keeps its gain"


def adaptive(evidence: Evidence, defense: str, attack: str, score: str = "correct", upto: float = inf) -> Adaptive | None:
    """The defense under the adaptive attack up to ε = `upto`, beside transfer and no defense, on the same images.

    Looked at where the adaptive attack costs most against transfer; where it costs nothing clear, at the largest gain.
    "falls": at least half of what the defense gained over the undefended network is gone, or it never gained;
    "weakens": clearly worse than under transfer, but more is left; "gains nothing": never clearly better than no
    defense; "keeps its gain": otherwise. None when one of the two threat levels was not measured.
    """
    known, ignored = evidence.sweep(attack, defense, ADAPTIVE), evidence.sweep(attack, defense, TRANSFER)
    if known is None or ignored is None:
        return None
    ignored, bare = ignored.shared_with(known), evidence.sweep(attack)
    bare = bare.shared_with(known) if bare is not None else None
    places = [float(eps) for eps in known.eps[1:] if within(eps, upto)]
    losses = [loss for eps in places if (loss := better(ignored, known, eps, score)) is not None]
    if not losses:
        return None
    worst = max(losses, key=lambda loss: loss.value)
    gains = [gain for eps in places if (gain := better(ignored, bare, eps, score)) is not None]
    if worst.low > 0 and worst.value >= LOSS:
        state, eps = WEAKENS, worst.eps
        gain, kept = better(ignored, bare, eps, score), better(known, bare, eps, score)
        if gain is not None and kept is not None and kept.value <= gain.value / 2:
            state = FALLS
    elif gains:
        eps = max(gains, key=lambda gain: gain.value).eps
        kept = better(known, bare, eps, score)
        state = HOLDS if kept is not None and kept.low > 0 else NO_GAIN
    else:
        state, eps = HOLDS, worst.eps
    there, before = known.measured(eps, score), ignored.measured(eps, score)
    alone = bare.at(eps, score) if bare is not None and bare.n else None
    what = "correct" if score == "correct" else "called the target"
    compared = f"{percent(before.value)} under transfer" + (f", {percent(alone.value)} undefended" if alone else "")
    text = (
        f"under the adaptive attack it {state}: {there.text} {what} at ε = {eps_text(eps)} "
        f"(the same {there.n} images: {compared})"
    )
    undefended = alone.value if alone else None
    return Adaptive(eps, there.value, there.low, there.high, there.n, before.value, undefended, state, text)


def better(first: Sweep, second: Sweep | None, eps: float, score: str) -> Point | None:
    """How much better off the first is at `eps`: more images correct, or fewer called the target."""
    difference = first.against(second, eps, score) if second is not None else None
    return difference if difference is None or score == "correct" else -difference


def beside(found: Adaptive | None, defense: str) -> str:
    """The clause every measurement of a defense ends with."""
    return found.text if found else f"no adaptive attack on {defense_name(defense)} was measured"


def only_ignored(part: ClaimPart, found: Adaptive | None) -> str:
    """Why, and what becomes of it when the attacker knows the defense: a verdict never stands without that."""
    if found is None:
        return f"{part.why}; without an adaptive attack, nothing is known about an attacker who knows the defense"
    if found.state == HOLDS:
        return f"{part.why}; under the adaptive attack it keeps its gain"
    lead = "and" if part.verdict == NOT_REPRODUCED else "true only of an attacker who ignores the defense:"
    return f"{part.why}; {lead} under the adaptive attack it {found.state}"
