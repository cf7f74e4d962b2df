"""The columns of the table: what is measured of every network. A new threat is one line here, and older rows show a gap."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threat:
    """name: in the head of the column. norm, eps: the budget, eps as it is typed. attack: whose accuracy is shown, None for the
    worst case over all attacks that ran, those included which escrime's checks called for."""

    name: str
    norm: str
    eps: str
    attack: str | None = None

    @property
    def key(self) -> str:
        """What its cell is called in a file of results."""
        return f"{self.attack or 'worst case'} {self.norm} {self.eps}"


ATTACKS = "FGSM,AutoAttack"  # what `escrime evaluate` runs for every row
THREATS = (
    Threat("FGSM, l∞ .025", "linf", "0.025", "FGSM"),
    Threat("AutoAttack, l∞ 4/255", "linf", "4/255"),
    Threat("AutoAttack, l∞ 8/255", "linf", "8/255"),
    Threat("AutoAttack, l2 0.5", "l2", "0.5"),
)
HEADLINE = {"linf": "4/255", "l2": "0.5"}  # whose verdict tells whether the numbers of a norm are believed


def grids() -> dict[str, list[str]]:
    """Norm → the ε of its evaluation, the headline first."""
    found: dict[str, list[str]] = {}
    for threat in THREATS:
        grid = found.setdefault(threat.norm, [HEADLINE[threat.norm]])
        if threat.eps not in grid:
            grid.append(threat.eps)
    return found
