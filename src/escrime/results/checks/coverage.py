"""Checks for attacks that were not run: on a defense by someone who knows it, and with more than a single step."""

from ...budgets import eps_text
from ..findings import Finding
from ..manners import UNIVERSAL
from ..statistics import Difference
from ..threats import ADAPTIVE, TRANSFER, WHITE_BOX
from .curves import NOTABLE, Curve, by_case, has_stronger, per_case, score_difference
from .registry import record_check


@record_check(40)
def transfer_stronger(curves: list[Curve]) -> list[Finding]:
    """Who knows a defense may also ignore it: where that does better, the adaptive attack is too weak."""
    tried: list[tuple[Curve, Curve, float, Difference]] = []
    adaptive = {(c.model, c.defense, c.norm, c.attack): c for c in curves if c.threat == ADAPTIVE}
    for ignored in (c for c in curves if c.threat == TRANSFER):
        knows = adaptive.get((ignored.model, ignored.defense, ignored.norm, ignored.attack))
        if knows is None:
            continue
        for eps in set(ignored.at) & set(knows.at):
            # An attacker wants few right predictions, or many of the target.
            pair = (ignored.at[eps], knows.at[eps]) if knows.targeted else (knows.at[eps], ignored.at[eps])
            tried.append((knows, ignored, eps, score_difference(*pair, "hit" if knows.targeted else "correct")[0]))
    fired = [row for row in tried if row[3].value >= NOTABLE and row[3].low > 0]

    def describe(rows: list[tuple[Curve, Curve, float, Difference]]) -> Finding:
        knows, ignored, eps, difference = max(rows, key=lambda row: row[3].value)
        score, what = ("hit", "called the target") if knows.targeted else ("correct", "right")
        images = knows.at[eps].index.intersection(ignored.at[eps].index)
        both = [float(c.at[eps].loc[images, score].mean()) for c in (knows, ignored)]
        return Finding(
            "transfer-stronger",
            "warning",
            f"{knows.attack} that knows the defense is weaker than the same attack that ignores it at ε = {eps_text(eps)}: "
            f"{both[0]:.1%} against {both[1]:.1%} {what}",
            {"images": len(images), "difference": round(difference.value, 4), "at least": round(difference.low, 4)}
            | {"at": [f"{c.attack}, ε = {eps_text(e)}" for c, _, e, _ in rows]},
            "An attacker takes the better of the two; more gradient draws or steps may strengthen the adaptive one.",
            **knows.about,
            answered=has_stronger([c for c in curves if c.case == knows.case]) and not knows.stronger,
        )

    if not tried:
        return []
    message = f"Nowhere is an attack that knows the defense clearly weaker than one that ignores it ({len(tried)} comparisons)"
    return per_case(fired, describe) or [Finding("transfer-stronger", "passed", message, {"comparisons": len(tried)})]


@record_check(45)
def surrogates_stronger(curves: list[Curve]) -> list[Finding]:
    """Who differentiates the model itself has what is made on another network, and more: where that does better, gradients of
    the model lead nowhere. Source: Athalye, Carlini, Wagner (2018), Obfuscated gradients, section 3.1."""
    tried: list[tuple[Curve, Curve, float, Difference]] = []
    made = [c for c in curves if c.threat == TRANSFER and c.defense == "none" and not c.targeted]
    for own in by_case([c for c in curves if c.iterated and c.threat == WHITE_BOX]):
        for shown in (c for c in made if (c.model, c.norm) == (own[0].model, own[0].norm)):
            for eps in shown.at:
                if knows := min((c for c in own if eps in c.at), key=lambda c: c.accuracy(eps), default=None):
                    tried.append((knows, shown, eps, score_difference(knows.at[eps], shown.at[eps])[0]))
    fired = [row for row in tried if row[3].value >= NOTABLE and row[3].low > 0]

    def describe(rows: list[tuple[Curve, Curve, float, Difference]]) -> Finding:
        knows, shown, eps, difference = max(rows, key=lambda row: row[3].value)
        images = knows.at[eps].index.intersection(shown.at[eps].index)
        both = [float(c.at[eps].loc[images, "correct"].mean()) for c in (knows, shown)]
        return Finding(
            "surrogates-stronger",
            "warning",
            f"{shown.attack}, made on other networks, leaves {both[1]:.1%} right at ε = {eps_text(eps)} and {knows.attack} on "
            f"the model itself {both[0]:.1%}: its gradients mislead",
            {"images": len(images), "difference": round(difference.value, 4), "at least": round(difference.low, 4)},
            "Look for what hides the gradient; the worst case, which counts both, is an upper bound.",
            **knows.about,
            answered=has_stronger([c for c in curves if c.case == knows.case]) and not knows.stronger,
        )

    if not tried:
        return []
    message = f"Nowhere is what is made on surrogates clearly stronger than an attack on the model itself ({len(tried)} times)"
    return per_case(fired, describe) or [Finding("surrogates-stronger", "passed", message, {"comparisons": len(tried)})]


@record_check(50)
def only_transfer(curves: list[Curve]) -> list[Finding]:
    """Every defense needs an attack that knows it, the same one or one that is as strong; every model one of its own beside
    what is made on surrogates."""
    ignored = [c for c in curves if c.threat == TRANSFER]

    def covered(curve: Curve) -> bool:
        about = (curve.model, curve.defense, curve.norm)
        known = [c for c in curves if (c.model, c.defense, c.norm) == about and c.known]
        if curve.defense == "none":
            return any(c.manner not in ("", UNIVERSAL) and not c.targeted for c in known)
        return any(c.attack == curve.attack or (c.manner in ("iterated", "scores") and not c.targeted) for c in known)

    def describe(rows: list[tuple[Curve]]) -> Finding:
        names, first = list(dict.fromkeys(row[0].attack for row in rows)), rows[0][0]
        named, holds = ", ".join(names), "the numbers hold only for one who"
        message = f"No attack that knows the defense stands beside {named}: {holds} ignores it"
        remedy = "Attack through the defense: evaluate the defended model itself, with expectation over its noise."
        if first.defense == "none":
            message = f"{named}: made on surrogates, and no attack on the model itself beside it: {holds} has no more"
            remedy = "Attack the model itself: by its gradients, such as AutoAttack, or where it gives none by Square or RayS."
        return Finding("only-transfer", "warning", message, {"attacks": names}, remedy, **first.about)

    if not ignored:
        return []
    fired = [(curve,) for curve in ignored if not covered(curve)]
    passed = "Every defense was also attacked by an attacker who knows it"
    if all(c.defense == "none" for c in ignored):
        passed = "Beside what is made on surrogates every model was attacked itself"
    defenses = sorted({f"{c.model}, {c.defense}" for c in ignored})
    return per_case(fired, describe) or [Finding("only-transfer", "passed", passed, {"defenses": defenses})]


@record_check(100)
def single_step_only(curves: list[Curve]) -> list[Finding]:
    """The accuracy that one step leaves is no bound on anything."""
    cases = list(by_case([c for c in curves if c.known]))
    alone = [(c,) for own in cases if all(c.manner == "single" for c in own) for c in own]

    def describe(rows: list[tuple[Curve]]) -> Finding:
        names = list(dict.fromkeys(row[0].attack for row in rows))
        return Finding(
            "single-step-only",
            "warning",
            f"Attacked by {', '.join(names)} alone, a single step: the accuracy it leaves bounds nothing",
            {"attacks": names},
            "Add an attack of many steps, such as PGD, or AutoAttack.",
            **rows[0][0].about,
        )

    if not cases:
        return []
    passed = "Every model was attacked by more than single steps"
    if any(not any(c.manner in ("iterated", "scores", "distance") for c in own) for own in cases):
        return per_case(alone, describe)  # an attack of unknown kind: nothing is known of it
    return per_case(alone, describe) or [Finding("single-step-only", "passed", passed, {"cases": len(cases)})]
