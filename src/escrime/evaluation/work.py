"""What an evaluation costs, counted in network passes before it starts: for time estimates and progress bars."""

from dataclasses import dataclass

from ..models.running import passes_per_image
from .cases import Case


@dataclass(frozen=True)
class Passes:
    """Forward passes, and forward-and-backward passes, of the undecorated network, per image."""

    forwards: float
    gradients: float


def passes_of_case(case: Case, attack, epsilons, *, sharing: int, draws: int, eot: int) -> Passes:
    """Passes per image to craft (shared by `sharing` cases) and score one case under one attack.

    `draws` and `eot` count only where a model averages over noisy copies; early stopping makes the true number smaller.
    """
    attacked, scored = passes_per_image(case.attacked), passes_per_image(case.subject.classifier)
    steps = len(epsilons) * attack.steps if hasattr(attack, "steps") else 1
    gradients = steps * attacked * (eot if attacked > 1 else 1) / sharing
    verdicts = len(epsilons) + 1
    # Fooled images are scored once more after rounding to 8 bit; about half of them are.
    forwards = scored * (verdicts * (draws if scored > 1 else 1) + len(epsilons) / 2)
    return Passes(forwards, gradients)
