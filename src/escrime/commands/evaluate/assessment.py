"""`escrime evaluate`: how robust a model is as it stands, on images of the user's, in a run folder that can be continued."""

from collections.abc import Callable
from functools import cached_property
from glob import escape
from pathlib import Path

import torch
from torch import nn

from ...data import ImageSet
from ...data.masks import Mask, read_mask
from ...distributed import Processes
from ...evaluation.checks.data import data_findings
from ...evaluation.effort import Effort
from ...evaluation.expected import UNSEEN, Outlook
from ...evaluation.images import PART, Source
from ...evaluation.pipeline import Plan, execute
from ...evaluation.profile import Profiles, as_attacked
from ...evaluation.requests import budget_of, manners_of
from ...evaluation.subjects import Case, as_cases, as_subjects, deployed_case
from ...models.deadline import as_time_allows, clock, deadline
from ...results.findings import MASK, Finding
from ...results.keys import joined, parts_of
from ...results.names import mask_in_words
from ...results.threats import TRANSFER
from ..run.checking import finish_checks
from ..shared.display import Display
from ..shared.folder import AnotherRun, RunFolder, about_images
from ..shared.own_folder import own_folder
from ..shared.store import FolderStore
from .beside import right
from .candidate import Candidate
from .first_look import FirstLook
from .identity import identity_of, refuse_another_model
from .pictures import make_pictures
from .request import Request

EOT = 8  # noise draws in each gradient of an attack on a randomized model
EFFORT = Effort(images=64, steps=50, queries=500, draws=200, eot=4, doublings=1)


class Assessment:
    """One evaluation in one folder, by one process or by all of a `team`.

    out: that folder, by default one of its own, runs/VERB-MODEL or, where another question has that, runs/VERB-MODEL-2 and so
    on. test, train: where the images come from, by default the candidate's own, and none. cases: name → what is attacked, by
    default the candidate. settings: of a folder, more than the request holds, which a run there that continues this one must
    share. prepare: what is to be done in the folder before anything else. outlook: what is
    then known of a case, see Plan.
    """

    def __init__(
        self,
        candidate: Candidate,
        out: Path | str | None,
        team: Processes,
        *,
        verb: str = "evaluate",
        test: Callable[[], ImageSet] | None = None,
        train: Callable[[], ImageSet | None] = lambda: None,
        cases: Callable[[str], list[Case]] | None = None,
        settings: Callable[[RunFolder], dict] = lambda folder: {},
        prepare: Callable[[], None] = lambda: None,
        outlook: Callable[[Case], Outlook] = lambda case: UNSEEN,
    ):
        self.candidate, self.team, self._verb = candidate, team, verb
        self._out = None if out is None else RunFolder(out)  # refused at once where it cannot be one
        self.request, self.display = candidate.request, candidate.display
        candidate.judged = lambda: self.test
        self._test, self._train, self._settings = test or candidate.images, train, settings
        self.prepare, self._outlook = prepare, outlook
        self._cases = cases or (lambda name: as_cases(as_subjects({name: candidate.model})))
        self.fed: list[Finding] | None = None  # what the first look found about how the model is fed
        self.end: float | None = None  # when the budget is spent

    @cached_property
    def test(self) -> ImageSet:
        return self._test()

    @cached_property
    def train(self) -> ImageSet | None:
        """Images that the model was trained on, where they are known."""
        return self._train()

    @cached_property
    def mask(self) -> Mask | None:
        """Which pixels may change; None for all. EscrimeError for a file that is no mask of the model's size."""
        if self.request.mask is None:
            return None
        found = read_mask(self.request.mask)
        found.check_size(self.candidate.size, self.candidate.size)
        return found

    @cached_property
    def source(self) -> Source:
        return Source(self.test, self.candidate.device, mask=None if self.mask is None else self.mask.pixels)

    @cached_property
    def look(self) -> FirstLook:
        return FirstLook(self.candidate, self.source)

    def settings(self, folder: RunFolder) -> dict:
        """What a run that continues this one must share, in its folder."""
        candidate = self.candidate
        about: dict = {
            "threat": candidate.threat,
            "attacks": list(candidate.attacks),
            "headline_eps": candidate.threats[0].headline,
        }
        if len(candidate.threats) > 1:
            about |= {"threats": {threat.norm: list(threat.epsilons) for threat in candidate.threats}}
        about |= {} if self.mask is None else {"mask": self.mask.about()}
        if candidate.surrogates:
            about["surrogates"] = {one.spec: one.weights for one in candidate.surrogates}
        if candidate.deployed is not None:
            about["deployed"] = {"model": candidate.deployed.spec, "weights": candidate.deployed.weights}
        return self.request.settings() | {"epsilons": list(candidate.threats[0].epsilons)} | about | self._settings(folder)

    @cached_property
    def folder(self) -> RunFolder:
        if self._out is not None:
            return self._out
        base = Path("runs") / f"{self._verb}-{self.candidate.name}"
        path = own_folder(base, self._in, self.display.say).path if self.team.first else base
        return RunFolder(self.team.broadcast(path))

    def _in(self, folder: RunFolder) -> bool:
        """Whether the folder holds this evaluation of this model; AnotherRun where it holds something else."""
        if not folder.holds({"experiment": self.settings(folder), "dataset": self.dataset}):
            return False
        self.refuse_another_model(folder)
        return True

    @cached_property
    def dataset(self) -> dict:
        """What a manifest notes of the images."""
        return about_images(self.test, self.train)

    @cached_property
    def identity(self) -> dict:
        """What tells the model from another under the same name."""
        return identity_of(self.candidate, self.source)

    def refuse_another_model(self, folder: RunFolder) -> None:
        """AnotherRun for a folder that was made with another model, or with this one when it was called otherwise."""
        models, name = folder.manifest["models"], self.candidate.name
        if models and name not in models:
            there = ", ".join(models)
            raise AnotherRun(f"{folder.path} was made with a model called {there}, and this one is called {name}", there)
        refuse_another_model(folder, self.candidate, models.get(name, {}), self.identity)

    def begin(self) -> None:
        """Loaded and read: from here on the time counts.

        Raises:
            EscrimeError: For what nobody should spend an hour on.
        """
        self.end = None if self.request.budget is None else clock() + self.request.budget
        self.fed = self.look.check()

    @cached_property
    def surrogates(self) -> list[dict]:
        """What is known of each surrogate, JSON values: how many of a few images it gets right."""
        found = []
        for one in self.candidate.surrogates:
            count, of = right(one, self.test, self.candidate.device)
            found.append({"model": one.spec, "right": count, "of": of})
        return found

    @property
    def headlines(self) -> dict[str, float]:
        """Norm → the ε that the first lines are about."""
        return {threat.norm: threat.headline for threat in self.candidate.threats}

    @property
    def seconds_left(self) -> float | None:
        return None if self.end is None else self.end - clock()

    @cached_property
    def profiles(self) -> Profiles:
        found = Profiles(
            self.source, budget_of(self.candidate.attacks, self.candidate.grids), self.request.seed, self.look.profiled
        )
        if self.fed is not None:
            found.fed[id(self.candidate.model)] = self.fed
        return found

    def profiled(self, name: str, before: dict | None) -> dict:
        """What a manifest notes where there is or was too little time to look at as many images as usual: how each case was
        approached. Records that were made by another approach, `before`, are deleted, to be made again."""
        if before is None and self.look.profiled == PART:
            return {}
        found: dict[str, dict] = {}
        with deadline(self.seconds_left), as_time_allows("the first look"):
            for case in as_attacked(self._cases(name), self.profiles):
                attacked, scored = self.profiles[case.attacked], self.profiles[case.subject.classifier]
                found[joined(case.name)] = {
                    "settings": {name: str(value) for name, value in attacked.settings.items()},
                    "randomized": [attacked.randomized, scored.randomized],
                }
        store = FolderStore(self.folder)
        for stem in (stem for stem, now in found.items() if (before or {}).get(stem, now) != now):
            self.display.say("note: a longer look at the model asks for other attacks; what was done before is done again.")
            for key in store.keys(parts_of([stem])):
                store.forget(key)
            for path in (self.folder / "checks").glob(f"{escape(stem)}--*.json"):
                path.unlink()
        return {"approach": (before or {}) | found}

    def pictured(self, name: str) -> Case:
        """The case whose pictures are made, as it is attacked: the model as it is, or a defended one by who knows it."""
        cases = as_attacked(self._cases(name), self.profiles)
        return min(cases, key=lambda case: (case.subject.defense != "none", case.threat == TRANSFER))

    def execute(self, name: str) -> None:
        """The attacks and the checks, as far as the budget goes."""
        cases, deployed = self._cases(name), self.candidate.deployed
        plan = Plan(
            cases,
            self.profiles,
            self.candidate.attacks,
            self.candidate.grids,
            seed=self.request.seed,
            draws=8,
            eot=EOT,
            effort=EFFORT,
            headlines=self.headlines,
            outlook=self._outlook,
            deployed=() if deployed is None else (deployed_case(deployed.model, cases, deployed.name),),
        )
        shown = lambda title: self.folder.metered(title, self.display, noted=self.team.first)  # noqa: E731
        with deadline(self.team.broadcast(self.seconds_left)):  # of the first process: all have the same time
            open_findings = execute(plan, FolderStore(self.folder), self.team, shown)
        if self.team.first:
            about_all = [*data_findings(self.test, self.train), *open_findings]
            if self.mask is not None:
                about_all.append(Finding(MASK, "note", mask_in_words(self.mask.about())))
            finish_checks(self.folder, about_all, self.headlines)


def assess(
    request: Request,
    out: Path | str | None,
    *,
    device: torch.device,
    team: Processes | None = None,
    command: str = "",
    quiet: bool = False,
) -> Assessment:
    """Evaluate what is requested, in the folder `out` (by default runs/evaluate-MODEL, or a numbered one beside it where that
    holds another question), continuing what is there. Of several processes (`team`, by default those of torch.distributed) the
    first reports.

    Raises:
        EscrimeError: For whatever cannot be evaluated, before anything is written.
    """
    team = team or Processes(device)
    run = Assessment(Candidate(request, Display(quiet=quiet or not team.first), device), out, team)
    evaluate_in_folder(run, command)
    return run


def evaluate_in_folder(run: Assessment, command: str) -> None:
    """Make or continue the run folder, attack, check, draw the report."""
    from ...report import draw_report

    loaded, name = run.candidate.loaded, run.candidate.name
    normalized = f", normalization: {loaded.normalization}" if loaded.normalization else ""
    run.display.say(f"{run.request.model} on {run.request.images}{normalized}")
    if not run.team.first:
        run.folder  # noqa: B018  # the first process finds it
        run.team.wait()  # it decodes the images, looks at the model, and makes the folder
        run.execute(name)
        return
    run.mask, run.candidate.attacks, run.test  # noqa: B018  # refused or read before the time counts
    deployed = run.candidate.deployed
    for one in run.surrogates:
        run.display.say(f"note: surrogate {one['model']} gets {one['right']} of {one['of']} images right.")
    if deployed is not None and run.request.mean is not None:
        how, so = ("normalized by", "more") if deployed.normalized else ("without", "no fewer")
        run.display.say(f"note: {deployed.spec} is given images {how} --mean and --std, as {so} of a few are right so.")
    with run.display.bar("Look at the model", None):
        run.begin()
    settings, model = run.settings(run.folder), loaded.model
    parameters = sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else None
    description: dict = {"arch": loaded.origin, "parameters": parameters, "stands_for": None, "threat": run.candidate.threat}
    description |= {"surrogates": run.surrogates} if run.surrogates else {}
    with run.folder.lock():
        run.folder.prepare(
            name, settings, run.dataset, str(run.candidate.device), command, "evaluation", manners_of(run.candidate.attacks)
        )
        run.refuse_another_model(run.folder)
        old = run.folder.manifest["models"].get(name, {})
        run.prepare()
        run.folder.record_model(name, description | run.identity | run.profiled(name, old.get("approach")))
        run.team.wait()
        run.execute(name)
        with run.folder.stage("report"), run.display.bar("Draw the report", None):
            make_pictures(run, run.pictured(name), EOT)
            draw_report(run.folder.path)
