"""`escrime.evaluate`: the whole evaluation in one call, in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from ..attacks.core.base import Attack
from ..attacks.transfer import Transfer
from ..budgets import shared_grids
from ..data.given import Given, read
from ..distributed import Processes
from ..models import deadline
from ..models.fresh import untouched
from ..models.running import Classifier, existing_device
from ..norms import refuse_mask
from ..progress import ProgressOption, shown
from ..results.comparisons import Comparison, compare, per_class, tradeoff
from ..results.deployment import deployment, sentences
from ..results.findings import MASK, Finding
from ..results.names import mask_in_words
from ..results.printed import Summary, result_html, result_text
from ..results.records import summarize, worst_case_by_subset
from ..results.union import Union, unions
from ..results.verdicts import Verdict, verdicts
from ..validation import check_seed, check_time, check_whole
from .budget import LOOKED, images_for_a_look, seconds_per_pass
from .checks.data import as_pixels, data_findings, duplicates
from .effort import Effort
from .images import PART, Data, Source
from .looks import unanswered
from .pipeline import Plan, all_findings, execute
from .profile import Profiles
from .progress import Meter
from .requests import budget_of, check_attacks, check_epsilons, manners_of, norm_of, on_surrogates
from .store import MemoryStore
from .subjects import AnyAttack, Case, Epsilons, Models, as_cases, as_subjects, deployed_case


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What `evaluate` returns; printed, or at the end of a notebook's cell, it is a table and its verdicts.

    Args:
        records: one row per (model, defense, threat level, attack, ε, image). The rows of the attack "stronger" are those of
            what escrime ran because of a check that fired.
        checks: what the validity checks found, alarms first.
        deployed: what the attacks on the model did to the one that is deployed in its place, in the columns of `records`; None
            without one. `deployment` sets them side by side.
    """

    records: pd.DataFrame
    checks: list[Finding] = field(default_factory=list)
    deployed: pd.DataFrame | None = None

    def summary(self, confidence: float = 0.95) -> pd.DataFrame:
        """Accuracy for every (model, defense, threat, attack, ε), and for the worst case over all attacks up to each ε.

        Args:
            confidence: of the intervals, between 0 and 1.

        Returns:
            A table with accuracy, n and the ends of its Wilson interval (`results.statistics.wilson`) as fractions.
        """
        found = pd.concat([self.records, worst_case_by_subset(self.records)], ignore_index=True)
        return Summary(summarize(found, confidence))

    def per_class(self) -> pd.DataFrame:
        """Accuracy with n and Wilson interval for every class; see `comparisons.per_class`.

        Returns:
            A table with one row per (model, defense, threat, attack, ε, class).
        """
        return per_class(self.records)

    def tradeoff(self, attack: str, eps: float | str) -> pd.DataFrame:
        """Clean accuracy beside robust accuracy for every model and defense; see `comparisons.tradeoff`.

        Args:
            attack: its label in the records.
            eps: a fraction of the color range, or such as "8/255".

        Returns:
            A table with one row per (model, defense, threat).

        Raises:
            EscrimeError: for an attack or an ε without records.
        """
        return tradeoff(self.records, attack, eps)

    def compare(
        self, first: Sequence[str], second: Sequence[str], *, attack: str | None = None, eps: float | str
    ) -> Comparison:
        """Whether one column is better than another on the same images, by McNemar's exact test (`results.statistics.mcnemar`).

        Args:
            first: (model, defense, threat), or the same with its attack.
            second: the column that it is compared with.
            attack: of columns that name none.
            eps: a fraction of the color range, or such as "8/255".

        Returns:
            The difference with its paired interval and p; see `comparisons.compare`.

        Raises:
            EscrimeError: for a column, attack or ε without records, or without shared images.
        """
        return compare(self.records, first, second, attack=attack, eps=eps)

    @property
    def _sentences(self) -> list[str]:
        judged = self.verdicts
        return [
            *(verdict.sentence for verdict in judged),
            *(union.sentence for union in unions(self.records, judged)),
            *sentences(deployment(self.records, self.deployed)),
        ]

    def __repr__(self) -> str:
        return result_text(self.records, self.summary(), self._sentences)

    def _repr_html_(self) -> str:
        return result_html(self.records, self.summary(), self._sentences)

    @property
    def verdicts(self) -> list[Verdict]:
        """One sentence per model and defense: the number that stands, and whether to believe it."""
        return verdicts(self.records, self.checks)

    @property
    def unions(self) -> list[Union]:
        """What is left where the attacker may choose among several norms, one per model and defense that has several."""
        return unions(self.records, self.verdicts)

    @property
    def deployment(self) -> pd.DataFrame:
        """Image by image, what fools the model and the one that is deployed in its place: a row for clean images and for every
        attack and ε, in the columns of `results.deployment.Paired`; empty without one."""
        return pd.DataFrame([row.as_dict() for row in deployment(self.records, self.deployed)])

    @property
    def alarms(self) -> list[Finding]:
        """The findings that forbid to quote the numbers as they are."""
        return [finding for finding in self.checks if finding.severity == "alarm"]


@torch.inference_mode(False)  # where it is called from within that mode: nothing has a gradient there
def evaluate(
    models: Models,
    data: Data,
    attacks: AnyAttack | Sequence[AnyAttack] | Mapping[str, AnyAttack],
    *,
    epsilons: Epsilons | Mapping[str, Epsilons] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    draws: int = 8,
    eot: int = 8,
    checks: Effort | bool = True,
    train: Data | None = None,
    mask: Any = None,
    surrogates: Any = None,
    deployed: Classifier | None = None,
    budget: float | str | None = None,
    progress: ProgressOption = None,
) -> Evaluation:
    """Score every model under every attack and ε, each defense under transfer and adaptive attack, and check the numbers.

    Where a model hides its gradients, escrime's attacks follow those of a Surrogate with the same predictions; a callable of
    yours gets the model itself. On a randomized model an attack that knows the defense follows the mean gradient over noise
    draws (EOT, see `attacks.core.gradients`).

    A transfer attack spends all its steps, for an example that stops at the boundary of one network rarely fools another.
    Those that look for the nearest example (FMN, DeepFool, CarliniWagner, RayS) are left as they are, and transfer badly.

    Within a `budget` as many images are attacked as there is time for, all attacks finish one before the next, and about a
    fifth to a half is kept for the checks. A finding "budget" lists what was left open: a note for images, a warning for
    attacks that were run on none, and for checks that were cut short.

    Args:
        models: a classifier or a dict of name → classifier (images (N, C, H, W) in [0, 1] → logits (N, K), or an output that
            holds them: `.logits`, "logits", the first of a tuple; one logit z counts as (0, z)). One whose weights are not
            float32 is judged as it is.
        data: an ImageSet, or images and labels as you have them: a pair of tensors, NumPy arrays or lists of PIL pictures, a
            DataLoader, a Dataset, Hugging Face's rows, a list of (image, label); see `data.given.read`, also for their ids.
        attacks: an attack, a list, or a dict of name → attack; any callable attack(model, images, labels) → images will do,
            its ε in l_inf unless its attribute `norm` is "l2".
        epsilons: an ε or a grid for all attacks, a dict of name → ε or grid, or None for each attack's own ε.
        seed: of all randomness.
        device: where the models are moved to; by default they stay where they are.
        draws: fresh noise draws behind each verdict on a randomized model.
        eot: noise draws per gradient of an adaptive attack on one.
        checks: how hard to look for what the attacks missed (see Effort), False not to; where they find something, a stronger
            attack runs on every image.
        train: the training images, to look for test images in.
        mask: which pixels of every image an attack may change, (H, W), bool or 0 and 1; None for all. A callable of yours is
            not told: where it changes others, that is not counted.
        surrogates: a network or several, images → logits of the model's classes, on which more examples are made, by
            MI-DI-TI-FGSM at every ε; they are recorded under "transfer". For another attack give `Transfer` among the attacks.
        deployed: what is deployed in place of the one model given (its int8 or exported form, gradients or not): it is shown
            the same examples, see `Evaluation.deployment`.
        budget: seconds, or a text such as "10min", that the evaluation may take; it ends within one batch of them.
        progress: True for a bar, a callable (done, total, note) that is called with network passes; by default a bar where a
            terminal or a notebook shows it.

    Returns:
        The records, and what the checks found.

    Raises:
        EscrimeError: with one sentence for input outside the contract.
    """
    seed = check_seed(seed)
    draws = check_whole("draws", draws, of="noise draws", hint="such as 8")
    eot = check_whole("eot", eot, of="noise draws", hint="such as 8")
    cases = as_cases(as_subjects(models))
    asked: dict[str, Attack] = check_attacks(attacks)
    grids = check_epsilons(asked, epsilons)
    seen = None if train is None else as_pixels(train)  # refused before anything is run
    moved, beside = device is not None, () if deployed is None else (deployed_case(deployed, cases),)
    device = _device_of(cases) if device is None else existing_device(device)
    within = None if budget is None else check_time("budget", budget)
    data = read(data)
    source = Source(data, device, None if within is None else seed, mask)
    if surrogates is not None:
        made, own = on_surrogates(surrogates, asked, grids, min(source.rows([0]).pixels.shape[2:]))
        asked, grids = {**asked, **made}, shared_grids(grids | own)
    if moved:
        _move([*cases, *beside], asked, device)
    for label, attack in asked.items() if mask is not None else ():
        refuse_mask(norm_of(attack), f"attack {label!r}")
    with _metered(progress) as meter, deadline.deadline(within):
        meter.begin("look at the model", 1)
        profiles = Profiles(source, budget_of(asked, grids), seed, _look(cases, source, within))
        effort = checks if isinstance(checks, Effort) else Effort.usual(len(source)) if checks else None
        plan, store = Plan(cases, profiles, asked, grids, seed, draws, eot, effort, deployed=beside), MemoryStore()
        left = execute(plan, store, Processes(device, alone=True), lambda title: nullcontext(meter))
    records, manners = store.records(), manners_of(asked)
    if mask is not None:
        share = float(torch.as_tensor(mask).float().mean())
        left = [*left, Finding(MASK, "note", mask_in_words({"file": "", "share": share}))]
    if effort is None:
        failed = [found for rows in (records, store.deployed()) for found in unanswered(rows, store.failures, manners)]
        return Evaluation(records, [*left, *failed], store.deployed())
    alone = seen is None and isinstance(data, Given) and data.classes is None  # which has no list of classes
    about_all = duplicates(as_pixels(data)) if alone else data_findings(data, seen)
    found = all_findings(store, records, [*about_all, *left], manners, mask is not None)
    return Evaluation(records, found, store.deployed())


def _move(cases: Sequence[Case], attacks: Mapping[str, Any], device: torch.device) -> None:
    """Move every network that is attacked, judged or followed to `device`."""
    models: list[Any] = [model for case in cases for model in (case.attacked, case.subject.classifier)]
    for attack in attacks.values():
        models += attack.surrogates if isinstance(attack, Transfer) else ()
    for model in models:
        if isinstance(model, torch.nn.Module):
            model.to(device)


@contextmanager
def _metered(progress: ProgressOption, title: str = "Evaluate") -> Iterator[Meter]:
    """A Meter for what was asked for (see `progress.shown`), which is told of every network pass within the block."""
    with shown(progress, title) as listener:
        if listener is None:
            yield Meter(lambda done, total, note: None)
            return
        meter = Meter(listener)
        with deadline.listening(meter):
            yield meter
        meter.finish()


def _look(cases: list[Case], source: Source, within: float | None) -> int:
    """How many images the profiles of the models are made on."""
    if within is None:
        return PART
    few = source.few(LOOKED, 0).pixels
    with deadline.as_time_allows("the first look"):
        deadline.look()
        models = {id(case.subject.classifier): case.subject.classifier for case in cases}
        return images_for_a_look(
            within / len(models), 21, max(seconds_per_pass(untouched(model), few) for model in models.values()), PART
        )
    return LOOKED


def _device_of(cases: list[Case]) -> torch.device:
    for case in cases:
        for parameter in getattr(case.attacked, "parameters", lambda: ())():
            return parameter.device
    return torch.device("cpu")
