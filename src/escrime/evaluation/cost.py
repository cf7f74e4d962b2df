"""What an evaluation costs, counted in network passes before it starts: for time estimates and progress bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.running import passes_per_image
from ..results.manners import SINGLE
from .effort import Effort
from .subjects import Case

THERE_AND_BACK = 3  # forward passes that a forward and a backward one take as long as
STANDS = 0.5  # share of the images that the attacks before leave for the checks, about
EARLY = 0.5  # share of its steps that an attack takes on an image, about
LATE = 0.02  # share of the images that come to the end of a long search, while nothing is known of the model
SOON = 10.0  # steps or queries that the others take
FEWEST = 0.5  # images that are expected to stand, from which one is
UNKNOWN = 20.0  # passes of an attack that names neither
KINDS, CONFINED_STEPS = 4, 20  # of changes that are tried alone, and the steps of each
NOISY_STEPS = 40  # the most that a gradient attack on a randomized model begins with


@dataclass(frozen=True)
class Passes:
    """Forward passes, and forward-and-backward passes, of the undecorated network, per image."""

    forwards: float
    gradients: float

    @property
    def total(self) -> float:
        return self.forwards + self.gradients

    @property
    def in_forwards(self) -> float:
        """How many forward passes take as long, about."""
        return self.forwards + THERE_AND_BACK * self.gradients


def passes_of_scoring(case: Case, epsilons: Sequence[float], draws: int) -> float:
    """Forward passes per image that its verdicts take: as it is and at each ε, in so many `draws` where a model averages over
    noisy copies, and once more for what is fooled, rounded to 8 bits, about half of them. Of such a model another look at each
    ε chooses between attacks."""
    copies = passes_per_image(case.subject.classifier)
    verdicts = len(epsilons) + 1 if copies == 1 else (2 * len(epsilons) + 1) * draws
    return copies * (verdicts + len(epsilons) / 2)


def passes_of_case(case: Case, attack: object, epsilons: Sequence[float], *, sharing: int, draws: int, eot: int) -> Passes:
    """Passes per image to craft (shared by `sharing` cases) and score one case under one attack.

    `draws` and `eot` count only where a model averages over noisy copies; early stopping makes the true number smaller.
    """
    attacked = passes_per_image(case.attacked)
    steps = len(epsilons) * attack.steps if hasattr(attack, "steps") else 1
    gradients = steps * attacked * (eot if attacked > 1 else 1) / sharing
    return Passes(passes_of_scoring(case, epsilons, draws), gradients)


def rough_passes(attack: object, epsilons: Sequence[float], stands: float = LATE, right: float = 1.0) -> Passes:
    """Passes per image that an attack takes on an undefended network, very roughly: progress is measured as soon as it begins.

    Args:
        stands: Share of the images on which it takes all its steps and queries; on the others it ends SOON.
        right: Share of the images that are right as they are; the others cost nothing.
    """
    steps, queries, targets = (float(getattr(attack, name, 0)) for name in ("steps", "queries", "targets_tried"))
    if getattr(attack, "manner", "") == SINGLE:
        return Passes(0, right)  # one gradient serves every ε
    whole = steps * (1 + targets) + queries or UNKNOWN
    stands = stands if getattr(attack, "early_stop", True) else right
    own = stands * whole + max(right - stands, 0.0) * min(whole, SOON)
    asked = stands * queries  # by scores, which come last
    return Passes(len(epsilons) * asked, len(epsilons) * (own - asked))


def rough_calls(attack: object, epsilons: Sequence[float], standing: float) -> float:
    """How often a network is asked, one batch after another, by an attack that so many images of the batch are expected to
    stand against: what an attack on a small network takes its time for."""
    steps, queries, targets = (float(getattr(attack, name, 0)) for name in ("steps", "queries", "targets_tried"))
    whole = steps * (1 + targets) + EARLY * queries or UNKNOWN
    to_the_end = standing >= FEWEST or not getattr(attack, "early_stop", True)
    return len(epsilons) * (whole if to_the_end else min(whole, SOON))


def calls_of_check(effort: Effort, standing: float) -> float:
    """The same of an examination, and of the stronger attack after it."""
    return effort.queries + effort.draws + effort.steps * 6 + (effort.queries + 3 * effort.steps) * (standing >= FEWEST)


def passes_of_check(case: Case, effort: Effort, stands: float = STANDS) -> tuple[Passes, Passes]:
    """Passes per image to examine a case, and those of the stronger attack, about: what fails at once costs less.

    Args:
        stands: Share of the images that the attacks before left.
    """
    copies = passes_per_image(case.subject.classifier)
    longer = sum(4**k if copies > 1 else 2**k for k in range(1, effort.doublings + 1))
    if copies > 1:
        once = copies * effort.eot * min(effort.steps, NOISY_STEPS)
        confined = KINDS * copies * effort.eot * min(effort.steps, CONFINED_STEPS)
        return Passes(copies * (effort.queries + effort.draws), (2 + longer) * once + confined), Passes(0, 4 * once)
    looks = stands * (effort.queries + effort.draws)
    confined = KINDS * min(effort.steps, CONFINED_STEPS)
    return Passes(looks, stands * (effort.steps * (3 + longer) + confined)), Passes(
        stands * effort.queries, stands * 3 * effort.steps
    )
