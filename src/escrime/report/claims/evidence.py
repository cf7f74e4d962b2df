"""What a claim may ask of one model: its sweeps on one subset, and the ε that stands for the paper's."""

from collections.abc import Callable
from dataclasses import dataclass

from ...budgets import same
from ...results.threats import WHITE_BOX
from ..formatting import eps_text
from ..paper_points import DGSM, LAST_EPS
from ..run import Run
from ..sweep import Sweep
from .verdicts import Measured

GOOGLENET = "googlenet"
# An ε within 15 % of the paper's counts as the paper's.
SAME_EPS = 0.15


@dataclass(frozen=True)
class Version:
    """What the paper says of one network: our wording, the value it gives, and the rule that judges it."""

    text: str
    value: str
    judge: Callable[["Evidence"], Measured]


@dataclass(frozen=True)
class Claim:
    """A claim; `wide` is also used, as a stand-in, for models that take neither network's place."""

    id: str
    wide: Version | None
    google: Version | None
    per_subset: bool = True

    def version(self, network: str | None) -> Version | None:
        return self.google if network == GOOGLENET else self.wide


@dataclass(frozen=True)
class Place:
    """The measured ε that stands for one of the paper's, and a note where it is not the same."""

    eps: float
    note: str = ""
    scaled: bool = False


@dataclass(frozen=True)
class Evidence:
    run: Run
    model: str
    subset: str | None

    @property
    def pretrained(self) -> bool:
        """Whether the model's training began with weights from elsewhere."""
        models = self.run.manifest.get("experiment", {}).get("models", {})
        return models.get(self.model, {}).get("weights", "none") != "none"

    def sweep(self, attack: str, defense: str = "none", threat: str = WHITE_BOX) -> Sweep | None:
        """The sweep with its clean images, or None when it was not run on this subset."""
        sweep = self.run.sweep(self.model, defense, threat, attack, self.subset)
        return sweep if sweep is not None and sweep.n and sweep.eps[0] == 0 and len(sweep.eps) > 1 else None

    def clean(self, defense: str = "none") -> Sweep | None:
        """The sweep with most clean images of a defense; its first ε is 0. None when none was classified."""
        found = [
            sweep.within(self.subset)
            for (model, held, _, _), sweep in self.run.sweeps.items()
            if model == self.model and held == defense and sweep.eps[0] == 0
        ]
        best = max(found, key=lambda sweep: sweep.point(0).n, default=None)
        return best if best is not None and best.point(0).n else None

    def place(self, sweep: Sweep, paper_eps: float) -> Place | None:
        """The measured ε for the paper's: itself, its nearest, or, where this run's grid is longer or shorter, the same
        place in the sweep. None when the run measured nothing comparable."""
        nearest = float(sweep.eps[sweep.index(paper_eps)])
        if abs(nearest - paper_eps) <= SAME_EPS * paper_eps:
            exact = same(nearest, paper_eps)
            return Place(
                nearest,
                "" if exact else f"nearest measured ε {eps_text(nearest)} for the paper's {eps_text(paper_eps)}",
            )
        last = LAST_EPS.get(sweep.attack, float(sweep.eps[-1]))
        scale = float(sweep.eps[-1]) / last
        scaled = paper_eps * scale
        nearest = float(sweep.eps[sweep.index(scaled)])
        if scale == 1 or nearest == 0 or abs(nearest - scaled) > SAME_EPS * scaled:
            return None
        note = (
            f"tested at ε = {eps_text(nearest)}, the same place in a sweep that ends at "
            f"{eps_text(float(sweep.eps[-1]))} "
            f"instead of the paper's {eps_text(last)}"
        )
        return Place(nearest, note, scaled=True)

    def reach(self, sweep: Sweep) -> tuple[float, str]:
        """How far a claim about the whole DGSM sweep reaches here, and a note when that is not the paper's 0.015.

        The paper's sweep ends just after DGSM has every image of the undefended network. Where a run's ε are not the
        paper's, the claim is judged up to the same event.
        """
        last = LAST_EPS[DGSM]
        place = self.place(sweep, last)
        if place is not None and not place.scaled:
            return place.eps, place.note
        bare = self.sweep(DGSM)
        fooled = [point.eps for point in bare.points("hit") if point.value >= 0.99] if bare is not None else []
        end = fooled[0] if fooled and fooled[0] in sweep.eps else float(sweep.eps[-1])
        event = "where DGSM has every image of the undefended network" if fooled else "the end of this sweep"
        return end, f"judged up to ε = {eps_text(end)}, {event}, instead of the paper's {eps_text(last)}"
