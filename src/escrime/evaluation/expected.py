"""How much work an evaluation is, told to a meter before it begins and as it goes on."""

from collections.abc import Mapping

import pandas as pd

from ..attacks.transfer import Transfer, for_transfer
from ..results.names import defense_name
from ..results.records import STRONGER
from ..results.threats import DEPLOYED, TRANSFER
from .cost import LATE, passes_of_check, rough_passes
from .effort import Effort
from .parts import work_on
from .progress import Meter
from .stronger import Scope, of_case, standing
from .subjects import AnyAttack, Case

FEW = 0.05  # share of the images that are expected to stand at least


def passes_on(one: AnyAttack, case: Case, grid: list[float], stands: float = LATE) -> float:
    """Passes per image of an attack on a case, very roughly; what is deployed is shown the examples and no more."""
    if case.threat == DEPLOYED:
        return len(grid) + 1
    made = one.made if isinstance(one, Transfer) else for_transfer(one) if case.threat == TRANSFER else one
    return rough_passes(made, grid, stands)


def expect_after(
    attacks: Mapping[str, AnyAttack], grids: Mapping[str, list[float]], case: Case, rows: pd.DataFrame, meter: Meter
) -> None:
    """What a part of one attack left says what the others will take on this case, about."""
    attacked = rows[rows["eps"] > 0]
    if len(attacked):
        stands = float(attacked["correct"].mean())
        for label, one in attacks.items():
            meter.expect(work_on(label, case), passes_on(one, case, grids[label], stands))


def plan_checks(todo: list[Scope], records: pd.DataFrame, effort: Effort, meter: Meter, processes: int) -> None:
    """Give the meter what examining these will cost each of the processes, about."""
    meter.plan(STRONGER, 0, 1)
    for scope in todo:
        images = of_case(records, scope.case)["image"].nunique()
        probing, stronger = passes_of_check(scope.case, effort, stands_of(scope, records))
        meter.plan(title_of(scope), min(effort.images, images) / processes, probing.forwards + probing.gradients)
        meter.plan(STRONGER, meter.tasks[STRONGER].images + images / processes, stronger.forwards + stronger.gradients)


def stands_of(scope: Scope, records: pd.DataFrame) -> float:
    """The share of the images that the attacks asked for left, about; not less than FEW."""
    return max(FEW, float(standing(of_case(records, scope.case), scope.norm, scope.eps, False).mean()))


def title_of(scope: Scope) -> str:
    """What the examination of a case is called while it goes on."""
    defense = scope.case.subject.defense
    return "examine" if defense == "none" else f"examine {defense_name(defense)}"
