"""What one perturbation for all images did is another question than what one made for each image does."""

from ...norms import norm
from ..findings import ONE_FOR_ALL, Finding
from ..manners import UNIVERSAL
from ..statistics import share_text
from .curves import Curve, by_case
from .registry import record_check


@record_check(106)
def one_for_all(curves: list[Curve]) -> list[Finding]:
    """Which attacks of each case made one perturbation for all images, and what it left at each ε."""
    found = []
    for own in by_case([curve for curve in curves if curve.manner == UNIVERSAL]):
        left = {curve.attack: {f"{eps:.9g}": round(curve.accuracy(eps), 4) for eps in sorted(curve.at)} for curve in own}
        said = []
        for curve in own:
            eps = max(curve.at)
            share = f"{share_text(curve.accuracy(eps))} of {len(curve.at[eps])} images right at {norm(curve.norm).said(eps)}"
            said.append(f"that of {curve.attack} leaves {share}")
        message = (
            f"One perturbation for all images, each half of them judged by what was fitted on the other: {'; '.join(said)}"
        )
        found.append(Finding(ONE_FOR_ALL, "note", message, {"attacks": left}, **own[0].about))
    return found
