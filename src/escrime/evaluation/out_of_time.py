"""What is said where the time was up before anything was recorded: how much there was, and about how much it would take."""

from collections.abc import Mapping, Sequence

from ..attacks.core.universal import Universal
from ..errors import EscrimeError
from ..models import deadline
from ..models.running import passes_per_image
from ..terminal import duration
from .budget import LOOKED, MOST, seconds_per_pass
from .chunks import FIRST
from .cost import STANDS
from .expected import Outlook, passes_on
from .profile import Profiles
from .subjects import AnyAttack, Case, cases_of

SOME = 20  # images, below which no share means anything


def out_of_time(
    cases: Sequence[Case],
    profiles: Profiles,
    attacks: Mapping[str, AnyAttack],
    grids: Mapping[str, list[float]],
    checked: bool,
    left: float,
) -> EscrimeError:
    """The error of an evaluation that had so many seconds `left` for attacks and checks. checked: whether the checks need their
    share of them too. The model that is attacked is asked about a few images to see what a pass takes."""
    with deadline.no_deadline():
        model = cases[0].attacked
        each = seconds_per_pass(model, profiles.source.few(LOOKED, 0).pixels) / passes_per_image(model)
    total = len(profiles.source)
    first = left / min(FIRST, total)  # what an image takes at least: the time was not enough for so many
    some, whole = (
        max(_seconds(cases, attacks, grids, total, count, each, checked), count * first) for count in (min(SOME, total), total)
    )
    had = f"{duration(left)} of it" if left >= 0.05 else "none of it"  # what duration writes as more than 0.0 s
    for_some = f"about {duration(some, about=True)} for {SOME} images and " if total > SOME else ""
    return EscrimeError(
        f"the time was up before any attack had finished one image, so nothing can be said yet: after a look at the model "
        f"{had} was left, and this takes {for_some}about {duration(whole, about=True)} for all {total:,} images; give a larger "
        "budget (--budget)."
    )


def _seconds(
    cases: Sequence[Case],
    attacks: Mapping[str, AnyAttack],
    grids: Mapping[str, list[float]],
    total: int,
    count: int,
    each: float,
    checked: bool,
) -> float:
    """About how long `count` of the images take, with the checks at least a second. What is fitted is so on all images."""
    passes = 0.0
    for label, one in attacks.items():
        for case in cases_of(one, cases):
            own = passes_on(one, case, grids[label], total, Outlook(stands=STANDS)).in_forwards
            passes += own * (total if isinstance(one, Universal) else count)
    return max(each * passes / ((1 - MOST) if checked else 1.0), 1.0)
