"""From a measured interval to a verdict. A verdict is the whole interval's, never the point estimate's alone."""

from dataclasses import asdict, dataclass, field
from typing import TypedDict, Unpack

from ...results.threats import WHITE_BOX
from ..intervals import Point

REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_TESTED = "reproduced", "partly", "not reproduced", "not tested"
# "About 73" is read as within five points of it.
ABOUT = 0.05


@dataclass(frozen=True)
class ClaimPart:
    """One checkable half of a claim: its verdict and one clause saying why."""

    verdict: str
    why: str


@dataclass(frozen=True)
class Adaptive:
    """A defense under the attack that knows it, where it does worst against what it showed in transfer."""

    eps: float
    value: float
    low: float
    high: float
    n: int
    transfer: float
    undefended: float | None
    state: str  # "falls", "weakens", "gains nothing" or "keeps its gain"
    text: str


class Setting(TypedDict, total=False):
    """Which rows a finding is about."""

    attack: str
    defense: str
    threat: str


@dataclass(frozen=True)
class Measured:
    """What one model shows about one claim."""

    verdict: str
    measured: str = "not measured"
    why: str = ""
    point: Point | None = None
    attack: str = "none"
    defense: str = "none"
    threat: str = WHITE_BOX
    adaptive: Adaptive | None = None
    eps: float | None = field(default=None)

    def as_row(self) -> dict:
        point = self.point
        numbers = {key: finite(getattr(point, key)) if point else None for key in ("value", "low", "high")}
        eps = self.eps if self.eps is not None else finite(point.eps) if point else None
        return {
            "measured": self.measured,
            **numbers,
            "n": point.n if point else 0,
            "eps": eps,
            "attack": self.attack,
            "defense": self.defense,
            "threat": self.threat,
            "verdict": self.verdict,
            "why": self.why,
            "adaptive": asdict(self.adaptive) if self.adaptive else None,
        }


def finite(number: float) -> float | None:
    return float(number) if number == number else None


def not_tested(why: str, **settings: Unpack[Setting]) -> Measured:
    return Measured(NOT_TESTED, why=why, **settings)


def above(point: Point, threshold: float, what: str) -> ClaimPart:
    """The claim "more than `threshold`": the whole interval above it, none of it, or some."""
    if point.low >= threshold:
        return ClaimPart(REPRODUCED, f"the whole interval lies above {what}")
    if point.high < threshold:
        return ClaimPart(NOT_REPRODUCED, f"the whole interval lies below {what}")
    return ClaimPart(PARTLY, f"the interval reaches both sides of {what}")


def below(point: Point, threshold: float, what: str) -> ClaimPart:
    """The claim "at most `threshold`"."""
    if point.high <= threshold:
        return ClaimPart(REPRODUCED, f"the whole interval lies below {what}")
    if point.low > threshold:
        return ClaimPart(NOT_REPRODUCED, f"the whole interval lies above {what}")
    return ClaimPart(PARTLY, f"the interval reaches both sides of {what}")


def about(point: Point, number: float, what: str, tolerance: float = ABOUT) -> ClaimPart:
    """The claim of a number: inside the interval, or the estimate within `tolerance`; partly when the interval is."""
    if point.low <= number <= point.high or abs(point.value - number) <= tolerance:
        return ClaimPart(
            REPRODUCED, f"{what} is in the interval" if point.low <= number <= point.high else f"it is close to {what}"
        )
    if point.low <= number + tolerance and point.high >= number - tolerance:
        return ClaimPart(PARTLY, f"the interval comes close to {what}")
    return ClaimPart(NOT_REPRODUCED, f"{what} is outside the interval")


def combine(*parts: ClaimPart) -> ClaimPart:
    """All agree: that verdict. Otherwise partly, and every reason is given."""
    verdicts = {part.verdict for part in parts}
    return ClaimPart(verdicts.pop() if len(verdicts) == 1 else PARTLY, "; ".join(part.why for part in parts))


def capped(part: ClaimPart, note: str) -> ClaimPart:
    """The verdict on a claim tested at another ε than the paper's: at best "partly", and it says so."""
    return ClaimPart(PARTLY if part.verdict == REPRODUCED else part.verdict, f"{part.why}; {note}")
