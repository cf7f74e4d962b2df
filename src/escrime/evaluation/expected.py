"""How much work an evaluation is, told to a meter before it begins and as it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from ..attacks.core.universal import Universal
from ..attacks.transfer import Transfer, for_transfer
from ..models.running import passes_per_image
from ..norms import norm
from ..results.manners import SINGLE
from ..results.names import defense_name
from ..results.records import STRONGER
from ..results.threats import DEPLOYED, TRANSFER
from .cost import LATE, Passes, passes_of_check, passes_of_scoring, rough_passes
from .effort import Effort
from .parts import Part, work_on
from .progress import Meter
from .stronger import Scope, of_case, standing
from .subjects import AnyAttack, Case

RENDERED = 100.0  # passes per image of a look at a model in a rendered norm, about
AFTER_SINGLE = 0.25  # share of what a single step left that an attack of many steps leaves, about
FEW = 0.05  # share of the images that are expected to stand at least


@dataclass(frozen=True)
class Outlook:
    """What is known of a case before it is attacked: the share of the images that is `right` as they are, the share that
    `stands` against an attack of many steps, and `after_single`, that share of what a single step leaves."""

    right: float = 1.0
    stands: float = LATE
    after_single: float = AFTER_SINGLE


UNSEEN = Outlook()


def passes_on(
    one: AnyAttack, case: Case, grid: list[float], images: int, outlook: Outlook = UNSEEN, draws: int = 1, eot: int = 1
) -> Passes:
    """Passes per image of an attack on a case, and of scoring it, very roughly; what is deployed is shown the examples and no
    more. What is fitted costs as much for few images as for many: each half of them, once. draws, eot: see `evaluate_parts`;
    they count where a model averages over noisy copies."""
    scored, copies = passes_of_scoring(case, grid, draws), passes_per_image(case.attacked)
    if case.threat == DEPLOYED:
        return Passes(scored, 0)
    each = copies * (eot if copies > 1 else 1)
    if isinstance(one, Universal):
        above = sum(eps > 0 for eps in grid)
        return Passes(scored, each * 2 * one.passes_to_fit(images // 2, above) / images)
    made = rough_passes(as_made(one, case), grid, outlook.stands, outlook.right)
    return Passes(scored + each * made.forwards, each * made.gradients)


def as_made(one: AnyAttack, case: Case) -> AnyAttack:
    """The attack as it is made on a case."""
    return one.made if isinstance(one, Transfer) else for_transfer(one) if case.threat == TRANSFER else one


def expect_after(
    attacks: Mapping[str, AnyAttack],
    grids: Mapping[str, list[float]],
    images: int,
    part: Part,
    rows: pd.DataFrame,
    meter: Meter,
    outlook: Outlook = UNSEEN,
    draws: int = 1,
    eot: int = 1,
) -> None:
    """What a part of one attack left says what the others will take on this case, about; many steps leave less than one."""
    attacked, case = rows[rows["eps"] > 0], part.case
    if len(attacked):
        single = getattr(attacks[part.attack], "manner", "") == SINGLE
        stands = float(attacked["correct"].mean()) * (outlook.after_single if single else 1)
        right = float((rows["clean_prediction"] == rows["label"]).mean())
        now = replace(outlook, right=right, stands=min(stands, right))
        for label, one in attacks.items():
            meter.expect(work_on(label, case), passes_on(one, case, grids[label], images, now, draws, eot).total)


def plan_checks(todo: list[Scope], records: pd.DataFrame, effort: Effort, meter: Meter, processes: int) -> None:
    """Give the meter what examining these will cost each of the processes, about."""
    meter.plan(STRONGER, 0, 1)
    for scope in todo:
        images = of_case(records, scope.case)["image"].nunique()
        probing, stronger = passes_of_scope(scope, records, effort)
        meter.plan(title_of(scope), min(effort.images, images) / processes, probing.total)
        meter.plan(STRONGER, meter.tasks[STRONGER].images + images / processes, stronger.total)


def passes_of_scope(scope: Scope, records: pd.DataFrame, effort: Effort) -> tuple[Passes, Passes]:
    """As `passes_of_check`, by the share of the images that the attacks asked for left. Where an attack renders all there is,
    a model is only asked about other draws."""
    if norm(scope.norm).rendered:
        return Passes(RENDERED, 0), Passes(0, 0)
    left = standing(of_case(records, scope.case), scope.norm, scope.eps, False)
    return passes_of_check(scope.case, effort, max(FEW, float(left.mean())))


def title_of(scope: Scope) -> str:
    """What the examination of a case is called while it goes on."""
    defense = scope.case.subject.defense
    return "examine" if defense == "none" else f"examine {defense_name(defense)}"
