"""Where an attack has tried all that a threat allows, nobody needs to look for a stronger one."""

from ...norms import norm
from ..findings import Finding
from ..manners import EXHAUSTED
from ..records import never_attacked
from .curves import Curve, by_case
from .registry import record_check


@record_check(105)
def exhausted(curves: list[Curve]) -> list[Finding]:
    """Which cases were attacked so by an attacker who knows them, at every ε and on every image that was recorded."""
    found = []
    for own in by_case([curve for curve in curves if curve.known and not curve.targeted]):
        whole = [curve for curve in own if curve.manner == EXHAUSTED]
        if whole and not any(never_attacked(rows).any() for curve in whole for rows in curve.at.values()):
            names = [curve.attack for curve in whole]
            tried = norm(whole[0].norm).tried
            message = f"{tried[:1].upper()}{tried[1:]}"
            found.append(Finding("exhausted", "passed", message, {"attacks": names}, **whole[0].about))
    return found
