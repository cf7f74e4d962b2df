"""`escrime.evaluate`: the whole evaluation in one call, in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from numbers import Integral

import pandas as pd
import torch

from ..errors import EscrimeError
from ..models.running import existing_device
from ..randomness import check_seed
from .approach import Approaches, as_attacked
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
from .engine import budget_of, check_attacks, check_epsilons, evaluate_parts
from .images import Images, Source
from .records import summarize, worst_case_by_subset
from .stronger import Ground, examination, grounds, stronger_parts


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
    source = Source(data, device)
    approaches = Approaches(source, budget_of(attacks, grids), seed)
    cases = as_attacked(cases, approaches)
    never = lambda key: False  # noqa: E731
    reasons: dict[str, str] = {}
    parts = evaluate_parts(
        cases,
        source,
        approaches,
        attacks,
        grids,
        seed=seed,
        draws=draws,
        eot=eot,
        finished=never,
        failed=lambda part, reason: reasons.setdefault(part.name, reason),
    )
    records = pd.concat([frame for _, frame in parts], ignore_index=True)
    if not checks:
        objections = [f for f in record_findings(records, reasons) if f.id in ("attack-failed", "non-finite")]
        return Evaluation(records, objections)
    effort = checks if isinstance(checks, Effort) else Effort()
    alone = train is None and isinstance(data, (tuple, list))  # a pair, which does not tell what classes there are
    found = duplicates(as_pixels(data)) if alone else data_findings(data, train)
    extra = []
    for findings, frames in check_cases(cases, approaches, source, records, effort, seed=seed, draws=draws):
        found += findings
        extra += frames
    records = pd.concat([records, *extra], ignore_index=True)
    return Evaluation(records, in_order([*found, *record_findings(records, reasons)]))


def check_cases(
    cases: list[Case],
    approaches: Approaches,
    source: Callable[[], Iterator[Images]],
    records: pd.DataFrame,
    effort: Effort,
    *,
    seed: int,
    draws: int,
) -> Iterator[tuple[list[Finding], list[pd.DataFrame]]]:
    """(findings, records of the stronger attack) of every case that an attacker may know."""
    for ground in grounds(cases, records):
        findings, stages = probe(ground, approaches, records, effort, seed)
        parts = stronger_parts(ground, stages, approaches, source, records, seed=seed, draws=draws, finished=lambda key: False)
        yield findings, [frame for _, frame in parts]


def probe(
    ground: Ground, approaches: Approaches, records: pd.DataFrame, effort: Effort, seed: int
) -> tuple[list[Finding], list[Stage]]:
    """What the checks find about one case, and the attacks it calls for."""
    model, first = ground.case.subject.classifier, approaches.images
    known = approaches[model]
    more, about = approaches.source.few_pairs(seed), {"blind": known.blind, "batch": known.batch}
    inputs = input_findings(model, first.pixels, first.labels, known.randomized, seed, **about, more=more)
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
