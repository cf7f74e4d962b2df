"""`escrime.evaluate`: the whole evaluation in one call, in memory."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import pandas as pd
import torch

from ..distributed import Processes
from ..models import deadline
from ..models.running import existing_device
from ..randomness import check_seed
from ..results.checks.records import record_findings
from ..results.comparisons import Comparison, compare, per_class, tradeoff
from ..results.findings import Finding
from ..results.records import summarize, worst_case_by_subset
from ..results.verdicts import Verdict, verdicts
from ..validation import check_time, check_whole
from .budget import LOOKED, images_for_a_look, seconds_per_pass
from .checks.data import as_pixels, data_findings, duplicates
from .effort import Effort
from .images import PART, Source
from .pipeline import Plan, all_findings, execute
from .profile import Profiles
from .progress import Meter, Told
from .requests import budget_of, check_attacks, check_epsilons, manners_of
from .store import Memory
from .subjects import Case, as_cases, as_subjects


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
    Where a model hides its gradients, escrime's attacks follow those of a Surrogate with the same answers; a callable of yours
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
    draws = check_whole("draws", draws, of="noise draws", hint="such as 8")
    eot = check_whole("eot", eot, of="noise draws", hint="such as 8")
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
    within = None if budget is None else check_time("budget", budget)
    source = Source(data, device, None if within is None else seed)
    with _shown(progress) as told, deadline.deadline(within), deadline.listening(told):
        meter = told if told is not None else Meter(lambda done, total, note: None)
        meter.begin("look at the model", 1)
        profiles = Profiles(source, budget_of(attacks, grids), seed, _look(cases, source, within))
        effort = checks if isinstance(checks, Effort) else Effort() if checks else None
        plan, store = Plan(cases, profiles, attacks, grids, seed, draws, eot, effort), Memory()
        left = execute(plan, store, Processes(device, alone=True), lambda title: nullcontext(meter))
    records, manners = store.records(), manners_of(attacks)
    if effort is None:
        failed = [f for f in record_findings(records, store.failures, manners) if f.id in ("attack-failed", "non-finite")]
        return Evaluation(records, [*left, *failed])
    alone = train is None and isinstance(data, (tuple, list))  # a pair, which does not tell what classes there are
    about_all = duplicates(as_pixels(data)) if alone else data_findings(data, train)
    return Evaluation(records, all_findings(store, records, [*about_all, *left], manners))


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


def _device_of(cases) -> torch.device:
    for case in cases:
        for parameter in getattr(case.attacked, "parameters", lambda: ())():
            return parameter.device
    return torch.device("cpu")
