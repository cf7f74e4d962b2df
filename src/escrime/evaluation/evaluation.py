"""`escrime.evaluate`: the whole evaluation in one call, in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from numbers import Integral

import pandas as pd
import torch

from ..errors import EscrimeError
from ..models import deadline
from ..models.deadline import OutOfTime
from ..models.running import existing_device, passes_per_image
from ..randomness import check_seed
from .approach import Approaches, as_attacked
from .budget import (
    FEWEST,
    LEAST,
    LOOKED,
    affordable,
    budget_findings,
    images_for_a_look,
    judged_by_all,
    kept_for_checks,
    passes_of_checks,
    seconds_per_pass,
)
from .cases import Case, as_cases, as_subjects
from .checks import Finding, in_order
from .checks.data import as_pixels, data_findings, duplicates
from .checks.inputs import input_findings
from .checks.provable import certificate_findings
from .checks.records import record_findings
from .checks.search import Stage
from .checks.verdict import Verdict, verdicts
from .comparisons import Comparison, compare, per_class, tradeoff
from .effort import Effort
from .engine import budget_of, check_attacks, check_epsilons, evaluate_parts, manners_of
from .images import PART, Images, Source
from .names import defense_name
from .progress import Meter, Told
from .records import STRONGER, summarize, worst_case_by_subset
from .stronger import Ground, examination, grounds, of_case, stronger_parts
from .work import about_passes, passes_of_check

EXAMINATION = "the search for a stronger attack"


@dataclass(frozen=True)
class Evaluation:
    """The records of an evaluation, one row per (model, defense, threat level, attack, ε, image), and what its validity
    checks found, alarms first. The rows of the attack "stronger" are escrime's own answer to a check that fired."""

    records: pd.DataFrame
    checks: list[Finding] = field(default_factory=list)

    def summary(self, confidence: float = 0.95) -> pd.DataFrame:
        """Accuracy with n and its Wilson interval for every (model, defense, threat, attack, ε), and for the worst case
        over all attacks up to each ε."""
        return summarize(pd.concat([self.records, worst_case_by_subset(self.records)], ignore_index=True), confidence)

    def per_class(self) -> pd.DataFrame:
        """Accuracy with n and interval for every class; see `comparisons.per_class`."""
        return per_class(self.records)

    def tradeoff(self, attack: str, eps: float | str) -> pd.DataFrame:
        """Clean accuracy beside robust accuracy for every model and defense; see `comparisons.tradeoff`."""
        return tradeoff(self.records, attack, eps)

    def compare(self, first, second, *, attack: str | None = None, eps: float | str) -> Comparison:
        """The paired test between two columns, each (model, defense, threat[, attack]); see `comparisons.compare`."""
        return compare(self.records, first, second, attack=attack, eps=eps)

    @property
    def verdicts(self) -> list[Verdict]:
        """One sentence per model and defense: the number that stands, and whether to believe it."""
        return verdicts(self.records, self.checks)

    @property
    def alarms(self) -> list[Finding]:
        """The findings that forbid to quote the numbers as they are."""
        return [finding for finding in self.checks if finding.severity == "alarm"]


@torch.inference_mode(False)  # where it is called from within that mode: nothing has a gradient there
def evaluate(
    models,
    data,
    attacks,
    *,
    epsilons=None,
    seed=0,
    device=None,
    draws=8,
    eot=8,
    checks: Effort | bool = True,
    train=None,
    budget: float | str | None = None,
    progress: bool | Told | None = None,
) -> Evaluation:
    """Score every model under every attack and ε, each defense under transfer and adaptive attack, and check the answer.

    models: a classifier or a dict of name → classifier (images (N, C, H, W) in [0, 1] → logits (N, K)). data: an ImageSet
    or a pair (images, labels). attacks: an attack, a list, or a dict of name → attack; any callable
    attack(model, images, labels) → images will do, its ε in l_inf unless its attribute `norm` says "l2". epsilons: an ε or
    a grid for all attacks, a dict of name → ε or grid, or None for each attack's own ε. draws: fresh noise draws behind
    each verdict on a randomized model. eot: noise draws per gradient of an adaptive attack on one. checks: how hard to look
    for what the attacks missed (see Effort), False not to; where they find something, a stronger attack runs on every image.
    Where a model hides its gradients, escrime's attacks follow those of a Surface with the same answers; a callable of yours
    gets the model itself. train: the training images, to look for test images in.

    budget: seconds, or a text such as "10min", that the evaluation may take; it ends within one batch of them. As many images
    are attacked as there is time for, all attacks finish one before the next, and about a fifth to a half is kept for the
    checks. A finding "budget" says what was left open: a note for images, a warning for attacks that were run on none, and
    for checks that were cut short. progress: True for a bar, a callable (done, total, note) to be told, in network passes;
    by default a bar where a terminal or a notebook shows it.

    A transfer attack spends all its steps, for an example that stops at the boundary of one network rarely fools another.
    Those that look for the nearest example (FMN, DeepFool, CarliniWagner, RayS) are left as they are, and transfer badly.

    Errors: EscrimeError with one sentence for input outside the contract.
    """
    seed = check_seed(seed)
    for name, value in (("draws", draws), ("eot", eot)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise EscrimeError(f"{name} = {value!r} is no number of noise draws; give a whole number from 1, such as 8.")
    cases = as_cases(as_subjects(models))
    attacks = check_attacks(attacks)
    grids = check_epsilons(attacks, epsilons)
    train = None if train is None else as_pixels(train)  # refused before anything is run
    if device is not None:
        device = existing_device(device)
        for case in cases:
            for model in (case.attacked, case.subject.classifier):
                if isinstance(model, torch.nn.Module):
                    model.to(device)
    device = device if device is not None else _device_of(cases)
    within = _seconds(budget)
    source = Source(data, device, None if within is None else seed)
    with _shown(progress) as told, deadline.deadline(within), deadline.listening(told):
        meter = told if told is not None else Meter(lambda done, total, note: None)
        approaches = Approaches(source, budget_of(attacks, grids), seed, _look(cases, source, within))
        reasons: dict[str, str] = {}
        records, cases = _attacked(cases, source, approaches, attacks, grids, seed, draws, eot, meter, reasons)
        timed, cut = deadline.time_left() is not None, {}
        found, extra = [], []
        if checks:
            effort = checks if isinstance(checks, Effort) else Effort()
            alone = train is None and isinstance(data, (tuple, list))  # a pair, which does not tell what classes there are
            found = duplicates(as_pixels(data)) if alone else data_findings(data, train)
            judged = records[records["image"].isin(judged_by_all(records))] if timed else records
            for ground, findings, frames, missed in check_cases(
                cases, approaches, source, judged, effort, seed=seed, draws=draws, meter=meter
            ):
                found += findings
                extra += frames
                cut.setdefault(ground.case.name, []).extend(missed)
        if timed:
            found += budget_findings(records, cases, list(attacks), len(source), cut)
    records = pd.concat([records, *extra], ignore_index=True)
    in_records = record_findings(records, reasons, manners_of(attacks))
    own = [f for f in in_records if checks or f.id in ("attack-failed", "non-finite")]
    return Evaluation(records, in_order([*found, *own]) if checks else found + own)


def _seconds(budget) -> float | None:
    """A budget in seconds. Errors: EscrimeError for what is no time."""
    try:
        within = None if budget is None else deadline.seconds(budget)
    except (ValueError, KeyError, AttributeError):
        raise EscrimeError(f"budget = {budget!r} is no time; give seconds, or write '90s', '10min' or '2h'.") from None
    if within is not None and not within > 0:
        raise EscrimeError(f"budget = {budget!r} leaves no time; give more, such as '10min'.")
    return within


@contextmanager
def _shown(progress: bool | Told | None) -> Iterator[Meter | None]:
    """A Meter for what was asked for: a callable is told, True draws a bar, None draws one where somebody sees it move."""
    if callable(progress):
        meter = Meter(progress)
        yield meter
        meter.finish()
        return
    console = None
    if progress or progress is None:
        from .. import bars
        from ..terminal import make_console

        console = make_console(stderr=True)
    if console is None or not (progress or bars.is_watched(console)):
        yield None
        return
    with bars.bar(console, "Evaluate", None) as advance:
        meter = Meter(lambda done, total, note: advance(done=done, total=total, note=note))
        yield meter
        meter.finish()


def _look(cases: list[Case], source: Source, within: float | None) -> int:
    """How many images show how the models are approached."""
    if within is None:
        return PART
    few = source.few(LOOKED, 0).pixels
    with deadline.as_time_allows("the first look"):
        deadline.look()
        models = {id(case.subject.classifier): case.subject.classifier for case in cases}
        return images_for_a_look(within / len(models), 21, max(seconds_per_pass(model, few) for model in models.values()), PART)
    return LOOKED


def _attacked(
    cases: list[Case],
    source: Source,
    approaches: Approaches,
    attacks: dict,
    grids: dict,
    seed: int,
    draws: int,
    eot: int,
    meter: Meter,
    reasons: dict[str, str],
) -> tuple[pd.DataFrame, list[Case]]:
    """(the records, the cases as attacked), as far as there is time; the checks' share of a budget is left. Why an attack
    failed goes into `reasons`.

    Errors: EscrimeError where the time was up before anything was recorded.
    """
    frames, began, left = [], deadline.clock(), deadline.time_left()
    meter.begin("look at the model", 1)
    with deadline.as_time_allows("the attacks"), deadline.deadline(None if left is None else (1 - LEAST) * left) as limit:
        cases = as_attacked(cases, approaches)
        count = len(source) * len(cases)
        for label, attack in attacks.items():
            meter.plan(label, count, about_passes(attack, grids[label]))
        parts = evaluate_parts(
            cases,
            source,
            approaches,
            attacks,
            grids,
            seed=seed,
            draws=draws,
            eot=eot,
            finished=lambda key: False,
            begun=meter.begin,
            failed=lambda part, reason: reasons.setdefault(part.name, reason),
        )
        started, before = deadline.clock(), meter.done + meter.inside
        for _, frame in parts:
            frames.append(frame)
            if left is not None:
                each = (deadline.clock() - started) / max(meter.done + meter.inside - before, 1)
                expected = each * sum(passes_of_checks(case, Effort(), len(source)) for case in cases)
                limit.end = began + left - kept_for_checks(left, expected)
    if not frames:
        raise EscrimeError(
            "the time was up before any attack had finished one image; nothing can be said yet. Give a larger budget."
        )
    return pd.concat(frames, ignore_index=True), cases


def check_cases(
    cases: list[Case],
    approaches: Approaches,
    source: Callable[[], Iterator[Images]],
    records: pd.DataFrame,
    effort: Effort,
    *,
    seed: int,
    draws: int,
    meter: Meter,
) -> Iterator[tuple[Ground, list[Finding], list[pd.DataFrame], list[str]]]:
    """(what was examined, findings, records of the stronger attack, what the time did not suffice for) of every case that an
    attacker may know."""
    todo = grounds(cases, records)
    plan_checks(todo, records, effort, meter)
    for count, ground in enumerate(todo):
        left, frames = deadline.time_left(), []
        with deadline.deadline(None if left is None else left / (len(todo) - count)) as limit:
            findings, stages = probe_in_time(ground, approaches, records, effort, seed, meter)
            parts = stronger_parts(
                ground,
                stages,
                approaches,
                source,
                records,
                seed=seed,
                draws=draws,
                finished=lambda key: False,
                begun=meter.begin,
            )
            try:
                for _, frame in parts:
                    frames.append(frame)
            except OutOfTime:
                findings = stronger_cut(limit, findings, sum(frame["image"].nunique() for frame in frames), ground, records)
        yield ground, findings, frames, [] if limit is None else limit.cut


def plan_checks(todo: list[Ground], records: pd.DataFrame, effort: Effort, meter: Meter) -> None:
    """Tell the meter what examining these will cost, about."""
    meter.plan(STRONGER, 0, 1)
    for ground in todo:
        images = of_case(records, ground.case)["image"].nunique()
        probing, stronger = passes_of_check(ground.case, effort)
        meter.plan(examination_of(ground), min(effort.images, images), probing.forwards + probing.gradients)
        meter.plan(STRONGER, meter.tasks[STRONGER].images + images, stronger.forwards + stronger.gradients)


def examination_of(ground: Ground) -> str:
    """What the examination of a case is called while it goes on."""
    defense = ground.case.subject.defense
    return "examine" if defense == "none" else f"examine {defense_name(defense)}"


def stronger_cut(limit: deadline.Deadline, findings: list[Finding], faced: int, ground: Ground, records) -> list[Finding]:
    """The findings, where the stronger attack had no time for more than `faced` images: they have no answer without any."""
    images = of_case(records, ground.case)["image"].nunique()
    limit.cut.append(f"the stronger attack on {images - faced} of {images} images")
    return findings if faced else [replace(finding, answered=False) for finding in findings]


def probe_in_time(
    ground: Ground, approaches: Approaches, records: pd.DataFrame, effort: Effort, seed: int, meter: Meter
) -> tuple[list[Finding], list[Stage]]:
    """As `probe`, on as many images as there is time for; what is cut short by a deadline is noted there."""
    judged = of_case(records, ground.case)["image"].nunique()
    meter.begin(examination_of(ground), min(effort.images, judged))
    with deadline.as_time_allows(EXAMINATION):
        if deadline.time_left() is not None:
            deadline.look()
            model, (passes, _) = ground.case.subject.classifier, passes_of_check(ground.case, effort)
            each = seconds_per_pass(model, approaches.images.pixels[:FEWEST]) / passes_per_image(model)
            effort = affordable(effort, passes, each, judged)
        return probe(ground, approaches, records, effort, seed)
    return [], []


def probe(
    ground: Ground, approaches: Approaches, records: pd.DataFrame, effort: Effort, seed: int
) -> tuple[list[Finding], list[Stage]]:
    """What the checks find about one case, and the attacks it calls for."""
    model, first = ground.case.subject.classifier, approaches.images
    known = approaches[model]
    more, about = approaches.source.few_pairs(seed), {"blind": known.blind, "batch": known.batch}
    inputs = input_findings(
        known.asked, first.pixels, first.labels, known.randomized, seed, **about, more=more, fed=approaches.fed.get(id(model))
    )
    inputs += certificate_findings(model, first.pixels)
    examined = examination(ground, approaches, records, effort, seed)
    about = dict(zip(("model", "defense", "threat"), ground.case.name))
    found = [finding.of(**about) for finding in inputs]
    return found + [finding.of(**about, norm=ground.norm) for finding in examined.findings], examined.stages


def _device_of(cases) -> torch.device:
    for case in cases:
        for parameter in getattr(case.attacked, "parameters", lambda: ())():
            return parameter.device
    return torch.device("cpu")
