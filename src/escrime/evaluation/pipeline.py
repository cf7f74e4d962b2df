"""The one pipeline of all evaluations: attack in parts, check, attack harder, as far as there is time.

`escrime.evaluate` keeps what it makes in memory, the commands in a run folder (see store.py). Of a team of processes each
makes its share of the parts, and attacks its share of the few images of each examination (see shared_rows.py).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import pandas as pd

from .. import norms
from ..distributed import Processes
from ..errors import EscrimeError, or_reason
from ..models import deadline
from ..models.deadline import OutOfTime
from ..models.ensemble import other_classes
from ..models.running import passes_per_image
from ..results.checks.records import record_findings
from ..results.findings import Finding, in_order
from ..results.keys import joined, parts_of, slice_of
from ..results.records import STRONGER
from ..results.threats import DEPLOYED
from .budget import (
    FEWEST,
    LEAST,
    affordable,
    again,
    budget_findings,
    judged_by_all,
    kept_for_checks,
    open_checks,
    passes_of_checks,
    seconds_per_pass,
)
from .checks.inputs import not_seen
from .checks.search import Attempt
from .checks.state import remembered_since
from .effort import Effort
from .expected import UNSEEN, Outlook, expect_after, passes_of_scope, passes_on, plan_checks, title_of
from .images import Images, Source
from .looks import findings_of_deployed, findings_of_model, unanswered
from .out_of_time import out_of_time
from .parts import evaluate_parts, work_on
from .profile import Profiles, as_attacked
from .progress import Meter
from .shared_rows import SharedRows
from .store import Examined, Store
from .stronger import Scope, examination, of_case, scopes, stronger_parts
from .subjects import Case, cases_of
from .universal import Fits

EXAMINATION = "the search for a stronger attack"
MORE = 3.0  # times what the checks took, which must be left to go on after them,
AGAIN = 2.0  # or times what those examinations will take that were cut short, where all images are attacked

Rates = dict[tuple[str, str], float]  # case, norm → seconds that the examination of one image took
Shown = Callable[[str], AbstractContextManager[Meter]]  # title of a stage → its meter, within a block


@dataclass(frozen=True)
class Plan:
    """What is evaluated. cases: who is attacked, and scored under which threat level. profiles: of their models, over the
    images. attacks, grids: by label, and the ε of each. draws, eot: see `evaluate_parts`. effort: of the checks, None for
    none. headlines: norm → the ε that the checks are about, where they do not choose it; the stronger attack then runs at
    this one only. deployed: who is shown the same examples, see `deployed_case`. samples: (defense, threat, attack label) →
    ids of the images for what would cost too much on all; sample: the same for the stronger attack on a case. outlook: what is
    known of a case before, for the bar."""

    cases: list[Case]
    profiles: Profiles
    attacks: dict
    grids: dict[str, list[float]]
    seed: int
    draws: int
    eot: int
    effort: Effort | None
    headlines: Mapping[str, float] = field(default_factory=dict)
    deployed: tuple[Case, ...] = ()
    samples: dict[tuple[str, str, str], frozenset] = field(default_factory=dict)
    sample: Callable[[Case], frozenset | None] = lambda case: None
    outlook: Callable[[Case], Outlook] = lambda case: UNSEEN

    @property
    def checked(self) -> Effort:
        """The effort of the checks, of a plan that has any."""
        if self.effort is None:
            raise ValueError("the plan has no checks")
        return self.effort

    @property
    def source(self) -> Source:
        return self.profiles.source


def execute(plan: Plan, store: Store, team: Processes, shown: Shown) -> list[Finding]:
    """Do all of the plan that `store` does not hold yet, or what there is time for, and return what that left open. Where the
    checks leave enough of the time, more images are attacked and checked, or examined.

    Errors: EscrimeError where the time was up before anything was recorded.
    """
    within, cost, rates = deadline.time_left(), None, Rates()
    still: dict[tuple, list[str]] = {}
    while True:
        cases = plan.cases
        with deadline.as_time_allows("the attacks"), shown("Attack") as meter:
            cases = as_attacked(cases, plan.profiles)
            for case in plan.deployed:
                _check_classes(case, plan.profiles)
            attack(replace(plan, cases=cases), store, team, meter, within, cost)
        team.wait()
        if not team.broadcast(bool(store.keys())):
            about = cases, plan.profiles, plan.attacks, plan.grids, plan.effort is not None
            raise out_of_time(*about, within or 0.0)
        began, total = deadline.clock(), len(plan.source)
        judged = judged_by_all(store.records()) if within is not None else None
        if plan.effort is not None:
            for case in plan.deployed:
                look_at(case, plan, store, team)
            check(replace(plan, cases=cases), store, team, shown, judged, rates)
        if within is None:
            return []
        took = deadline.clock() - began
        count, left = 0 if judged is None else len(judged), deadline.time_left() or 0.0
        cost = took * total / max(count, 1)
        earlier, still = still, open_checks(store)
        enough = max(LEAST * within, MORE * took)
        if plan.effort is not None and count == total:
            enough = min(enough, AGAIN * again(store, plan.effort, rates, took))
        more = count < total or still != earlier  # what an examination did not come farther with is left
        if plan.effort is None or not team.broadcast(more and left > enough):
            return budget_findings(store.records(), cases, plan.attacks, total, still, within)


def _check_classes(case: Case, profiles: Profiles) -> None:
    """Raise EscrimeError for a deployed model of other classes."""
    own, wanted = (profiles[model].classes for model in (case.subject.classifier, case.attacked))
    if own != wanted:
        raise EscrimeError(other_classes("the deployed model", own, "the model", wanted))


def attack(plan: Plan, store: Store, team: Processes, meter: Meter, within: float | None, cost: float | None) -> None:
    """Part after part, of a budget (`within`, seconds) until what is kept for the checks; cost: the seconds that they would
    take on all images, where that was measured."""
    left, planned = deadline.time_left(), dict[str, float]()
    cases = [*plan.deployed, *plan.cases]  # these last: the passes of a shared crafting count as of the last case begun
    for label, one in plan.attacks.items():
        for case in cases_of(one, cases):
            name, finished = work_on(label, case), len(store.done(parts_of([*case.name, label])))
            images = len(plan.samples.get((*case.name[1:], label), plan.source))
            planned[name] = planned.get(name, 0.0) + (images - finished) / team.count
            about = (plan.grids[label], len(plan.source), plan.outlook(case), plan.draws, plan.eot)
            meter.plan(name, planned[name], passes_on(one, case, *about).total)
    with (
        deadline.deadline(left if left is None or plan.effort is None else (1 - LEAST) * left) as limit,
        deadline.listening(meter),
    ):
        work = evaluate_parts(
            cases,
            plan.source,
            plan.profiles,
            plan.attacks,
            plan.grids,
            seed=plan.seed,
            draws=plan.draws,
            eot=plan.eot,
            finished=lambda key: not _mine(key, team) or store.finished(key),
            done=lambda key: store.done(f"{key}-"),
            begun=meter.begin,
            samples=plan.samples,
            failed=lambda part, reason: store.note_failure(part.name, reason),
            fits=Fits(plan.source, plan.seed, plan.eot, store),
        )
        began, before = deadline.clock(), meter.done + meter.inside
        for part, rows in work:
            store.write(part.key, rows)
            expect_after(
                plan.attacks, plan.grids, len(plan.source), part, rows, meter, plan.outlook(part.case), plan.draws, plan.eot
            )
            if left is not None and limit is not None and plan.effort is not None:
                each = (deadline.clock() - began) / max(meter.done + meter.inside - before, 1)
                total = len(plan.source)
                passes = sum(passes_of_checks(case, plan.effort, total) for case in plan.cases) / team.count
                expected = cost or each * passes
                limit.end = began + left - kept_for_checks(left, expected)


def _mine(key: str, team: Processes) -> bool:
    """Whether a part, or a chunk of one, is this process's to make."""
    return slice_of(key) % team.count == team.rank


def look_at(case: Case, plan: Plan, store: Store, team: Processes) -> None:
    """Keep what is found about a deployed model, unless that is there, or that there was no time for it; nobody attacks it."""
    name, rows = joined(case.name), store.deployed()
    if not team.first or rows is None or ((old := store.examinations().get((name, DEPLOYED))) is not None and not old.cut):
        return
    looked = Examined(rows["image"].nunique(), asdict(plan.checked), cut=[f"all checks of {case.subject.model}"])
    with deadline.as_time_allows("what is deployed"):
        looked = replace(looked, findings=findings_of_deployed(case, plan.profiles, rows, plan.seed), cut=[])
    store.note_examination(name, DEPLOYED, looked)


def check(plan: Plan, store: Store, team: Processes, shown: Shown, among: frozenset[str] | None, rates: Rates) -> None:
    """Examine every case that is not examined yet, and run the stronger attack that it calls for. A case that was examined
    when fewer of its images had been attacked, with less effort or in too little time, or that has lost rows since, is
    examined again. among: the ids (as text) of the images that are judged, None for all that have records. rates: what earlier
    examinations took, and these will have.

    Under a deadline each case has its share of the time, and what it does not suffice for is noted with the findings.
    """
    records = store.records()
    records = records if among is None else records[records["image"].isin(among)]
    todo = [scope for scope in scopes(plan.cases, records, plan.headlines) if not _complete(scope, plan, records, store)]
    if not team.broadcast(len(todo)):
        return
    team.wait()  # all have looked before the first one writes
    with shown("Check") as meter, deadline.listening(meter):
        plan_checks(todo, records, plan.checked, meter, team.count)
        for count, scope in enumerate(todo):
            left = deadline.time_left()
            with deadline.deadline(None if left is None else left / (len(todo) - count)) as limit:
                _examine(scope, plan, store, team, meter, records, among, limit, rates)
            team.wait()


def _examine(
    scope: Scope,
    plan: Plan,
    store: Store,
    team: Processes,
    meter: Meter,
    records: pd.DataFrame,
    among: frozenset[str] | None,
    limit: deadline.Deadline | None,
    rates: Rates,
) -> None:
    """Examine one case, and run the attacks that this calls for on every image. The findings are written last: where they are
    there, so is every row they rest on."""
    case, norm = joined(scope.case.name), scope.norm
    shared = SharedRows(team)

    findings: list[Finding] = []
    attempts: list[Attempt] = []

    def look() -> tuple[list[str], bool]:
        nonlocal findings, attempts
        findings, attempts = probe_in_time(scope, plan, records, meter, shared, rates)
        return [f"{one.name}: {one.attack!r}" for one in attempts], limit is not None and EXAMINATION in limit.cut

    everyone = shared.finish(look)
    before, names = store.examinations().get((case, norm)), everyone[team.rank][0]
    if everyone[0][1] and before is not None:  # an earlier one came farther: it stands, but for what it did not look at
        if team.first:
            store.note_examination(case, norm, replace(before, cut=[] if limit is None else limit.cut))
        return
    prefix = parts_of([*scope.case.name, STRONGER + norms.norm(norm).suffix])
    if team.first and before is not None and before.attempts not in ([], names):
        for key in store.keys(prefix):  # of other attacks
            store.forget(key)
        store.forget_examination(case, norm)
    team.wait()
    # Time may have cut the examination short elsewhere: only those who found what the first one did go on with it.
    agreed = [rank for rank, (theirs, _) in enumerate(everyone) if theirs == names]
    if names == everyone[0][0]:
        share = lambda key: slice_of(key) % len(agreed) == agreed.index(team.rank)  # noqa: E731
        parts = stronger_parts(
            scope,
            attempts,
            plan.profiles,
            lambda: _judged(plan.source, among),
            records,
            seed=plan.seed,
            draws=plan.draws,
            finished=lambda key: not share(key) or store.finished(key),
            done=lambda key: store.done(f"{key}-"),
            begun=meter.begin,
            epsilons=[scope.eps] if scope.norm in plan.headlines else None,
            sample=plan.sample(scope.case),
        )
        try:
            for part, rows in parts:
                store.write(part.key, rows)
        except OutOfTime:
            pass
    team.wait()
    if not team.first:
        return
    memory = plan.profiles[scope.case.subject.classifier].memory
    if attempts and not any(finding.id == "stateful" for finding in findings):
        findings += [finding.of(*scope.case.name) for finding in remembered_since(memory)]
    if limit is not None and attempts:
        findings = _if_cut(limit, findings, attempts, len(store.done(prefix)), scope, plan, records)
    keys, cut = store.keys(prefix), [] if limit is None else limit.cut
    store.note_examination(case, norm, Examined(*_basis(scope, plan, records), names, keys, findings, cut))


def _judged(source: Source, among: frozenset[str] | None) -> Iterator[Images]:
    return (images for images in source() if among is None or any(str(name) in among for name in images.ids))


def _basis(scope: Scope, plan: Plan, records: pd.DataFrame) -> tuple[int, dict[str, int]]:
    """What an examination stands on: how many images, and how hard it looks."""
    return int(of_case(records, scope.case)["image"].nunique()), asdict(plan.checked)


def _complete(scope: Scope, plan: Plan, records: pd.DataFrame, store: Store) -> bool:
    """Whether the case was examined on this basis, and all that the stronger attack wrote because of it is there."""
    old = store.examinations().get((joined(scope.case.name), scope.norm))
    return old is not None and old.rests_on(*_basis(scope, plan, records)) and all(map(store.finished, old.parts))


def all_findings(
    store: Store, records: pd.DataFrame, about_all: list[Finding], manners: dict[str, str] | None, masked: bool = False
) -> list[Finding]:
    """What was found `about_all` of an evaluation, in its examinations and in its `records`, which `store` holds, alarms first.
    manners: of the attacks, see requests.manners_of. masked: whether only some pixels could change."""
    found = [finding for examined in store.examinations().values() for finding in examined.findings]
    own = unanswered(store.deployed(), store.failures, manners)
    return in_order([*about_all, *found, *record_findings(records, store.failures, manners, masked), *own])


def _if_cut(
    limit: deadline.Deadline,
    findings: list[Finding],
    attempts: list[Attempt],
    faced: int,
    scope: Scope,
    plan: Plan,
    records: pd.DataFrame,
) -> list[Finding]:
    """The findings; what the stronger attack had no time for is noted in `limit`. Without any image they are not answered."""
    names, sample = of_case(records, scope.case)["image"].unique(), plan.sample(scope.case)
    images = len(names) if sample is None else len({str(name) for name in sample} & set(names))
    if faced >= images:
        return findings
    names_of_it = " and ".join(dict.fromkeys(one.name for one in attempts))
    limit.cut.append(f"the stronger attack ({names_of_it}) on {images - faced} of {images} images")
    return findings if faced else [replace(finding, answered=False) for finding in findings]


def probe_in_time(
    scope: Scope, plan: Plan, records: pd.DataFrame, meter: Meter, shared: SharedRows, rates: Rates
) -> tuple[list[Finding], list[Attempt]]:
    """As `probe`, on as many images as there is time for; what is cut short by a deadline is noted there."""
    judged, effort = of_case(records, scope.case)["image"].nunique(), plan.checked
    meter.begin(title_of(scope), min(effort.images, judged) / shared.team.count)
    with deadline.as_time_allows(EXAMINATION):
        if deadline.time_left() is not None:
            deadline.look()
            case = (joined(scope.case.name), scope.norm)

            def fewer() -> Effort:
                each = rates[case] if case in rates else _expected(scope, plan, records) / shared.team.count
                return affordable(effort, each, judged)

            at_most, began = shared.first("effort", fewer), deadline.clock()
            found = probe(scope, plan, records, at_most, shared)
            rates[case] = (deadline.clock() - began) / min(at_most.images, judged)
            return found
        return probe(scope, plan, records, effort, shared)
    return [], []


def _expected(scope: Scope, plan: Plan, records: pd.DataFrame) -> float:
    """Seconds that one process will take to examine one image, about."""
    model, (passes, _) = scope.case.subject.classifier, passes_of_scope(scope, records, plan.checked)
    each = seconds_per_pass(model, plan.profiles.images.pixels[:FEWEST]) / passes_per_image(model)
    return each * passes.in_forwards


def probe(
    scope: Scope, plan: Plan, records: pd.DataFrame, effort: Effort, shared: SharedRows
) -> tuple[list[Finding], list[Attempt]]:
    """What the checks find about one case, and the attacks it calls for; where the model raises what its attacks do not catch,
    that is what they find."""
    memory = plan.profiles[scope.case.subject.classifier].memory
    before = remembered_since(memory)
    inputs, raised = findings_of_model(scope.case, plan.profiles, records, plan.seed, shared)
    ask = partial(examination, scope, plan.profiles, plan.attacks, records, effort, plan.seed, shared)
    examined, reason = or_reason(ask)
    raised |= {EXAMINATION: reason} if reason else {}
    later = before or remembered_since(memory)
    found = [finding.of(*scope.case.name) for finding in [*inputs, *later, *not_seen(raised)]]
    own, attempts = ([], []) if examined is None else (examined.findings, examined.attempts)
    return found + [finding.of(*scope.case.name, scope.norm) for finding in own], attempts
