"""`escrime harden`: adversarial fine-tuning of a user's model, and what it bought: before and after in one report."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from ... import data
from ...data.classes import class_metadata
from ...distributed import Processes
from ...errors import EscrimeError
from ...evaluation.expected import UNSEEN, Outlook
from ...evaluation.subjects import Case, Subject, as_cases
from ...models import load_weights
from ...models.deadline import clock
from ...models.fast.prepare import copied
from ...report.validity import VERDICT
from ...terminal import duration
from ...training import TrainSettings, objective
from ...training.batchnorm import look_at_batchnorm
from ..evaluate.assessment import Assessment, evaluate_in_folder
from ..evaluate.candidate import Candidate
from ..evaluate.request import Request
from ..run.schema import ADVERSARIAL
from ..shared.display import Display
from ..shared.fitting import fit_in_folder
from ..shared.folder import RunFolder
from .estimate import (
    TRAINED,
    Expected,
    Speed,
    epochs_within,
    expected,
    judging,
    plan,
    seen_in,
    shorter,
    speed_of,
    times,
    too_short,
)

WEIGHTS = "weights.safetensors"
FITTED = "epochs_fit_budget"
BATCHNORM = "batchnorm"  # what a manifest notes of it, a sentence
OF_BATCHNORM = "freeze_batchnorm"
LONG = 60  # seconds from which it is said what would make it shorter
HELD = 256  # training images that tell when it overfits
USUAL = dict(epochs=5, learning_rate=0.01, batch_size=32, schedule="one-cycle", augment="flip", clip_gradient=1.0, keep="best")


class Hardening:
    """A candidate, and what the objective `goal` makes of it, trained on the images' own training part."""

    def __init__(self, candidate: Candidate, goal: dict, chosen: dict, folder: Callable[[], RunFolder]):
        self.candidate, self.goal, self.chosen, self._folder = candidate, goal, chosen, folder
        objective(**goal)  # refuses unknown names before anything is read

    @cached_property
    def splits(self) -> data.Splits:
        candidate = self.candidate
        images = candidate.request.images
        own = images not in data.DATASETS or Path(images).is_dir()
        name, folder = ("folder", images) if own else (images, None)
        with candidate.display.reading() as progress:
            return data.load(
                name,
                folder=folder,
                size=candidate.size,
                download=folder is None,
                on_error=candidate.on_error,
                progress=progress,
            )

    @cached_property
    def test(self) -> data.ImageSet:
        return self.candidate.to_judge(self.splits.test)

    @cached_property
    def train(self) -> data.ImageSet:
        return self.candidate.with_labels(self.splits.train)

    @cached_property
    def training(self) -> TrainSettings:
        """What it is trained with.

        Raises:
            EscrimeError: Where the epochs that were asked for do not fit into the budget.
        """
        settings, budget = self._training_in(self.folder), self.candidate.request.budget
        if budget is None or self.trained or self._fitted(self.folder) or settings.epochs * self.expected.epoch <= budget:
            return settings
        raise too_short(settings.epochs, budget, self.expected)

    def _training_in(self, folder: RunFolder) -> TrainSettings:
        """What it would be trained with in a folder: one that was begun keeps the number of epochs that fitted then, and what
        was found best for BatchNorm."""
        settings, begun = self._usual, self._begun(folder).get("training", {})
        if self._fitted(folder):
            fitting = lambda: epochs_within(self.candidate.request.budget or 0, settings.epochs, self.expected)  # noqa: E731
            settings = replace(settings, epochs=begun["epochs"] if begun else fitting())
        return replace(settings, freeze_batchnorm=self._freezes(folder))

    @cached_property
    def _usual(self) -> TrainSettings:
        """What it is trained with unless a folder or the network asks for more."""
        probed = getattr(objective(**self.goal), "eps", None) is not None
        held = min(HELD, len(self.train) // 5) if probed else 0
        usual = USUAL | {"probe_images": held} if held else {**USUAL, "keep": "last"}
        return TrainSettings(**usual | self.chosen)

    def _freezes(self, folder: RunFolder) -> bool:
        """Whether BatchNorm keeps its running statistics: as asked for, as in the folder, or as `hurt_by_batches` says."""
        if OF_BATCHNORM in self.chosen:
            return self._usual.freeze_batchnorm
        begun = self._begun(folder)
        there, by_itself = begun.get("training", {}).get(OF_BATCHNORM), BATCHNORM in begun
        if there is not None and there == by_itself:
            return by_itself
        return bool(self.hurt_by_batches)

    @cached_property
    def hurt_by_batches(self) -> str:
        """Why BatchNorm should not go by the statistics of batches in this training, "" where it may."""
        candidate = self.candidate
        try:
            found = look_at_batchnorm(
                self.network, self.train, self._usual, seed=candidate.request.seed, device=candidate.device
            )
        except EscrimeError:
            raise
        except Exception:  # whatever somebody's model raises: training names it
            return ""
        return "" if found is None else found.reason

    def batchnorm_in(self, folder: RunFolder) -> str:
        """What is to be said of BatchNorm in a folder, a sentence, "" for nothing."""
        begun, freezes = self._begun(folder), self._freezes(folder)
        if begun.get("training", {}).get(OF_BATCHNORM) == freezes:
            return str(begun.get(BATCHNORM, ""))
        if OF_BATCHNORM in self.chosen and freezes or not self.hurt_by_batches:
            return ""
        if freezes:
            return f"BatchNorm keeps its running statistics ({OF_BATCHNORM} = true): {self.hurt_by_batches}."
        return f"{OF_BATCHNORM} = false, as you asked, may ruin the model: {self.hurt_by_batches}."

    @cached_property
    def folder(self) -> RunFolder:
        return self._folder()

    @property
    def trained(self) -> bool:
        return (self.folder / WEIGHTS).exists()

    def _begun(self, folder: RunFolder) -> dict:
        """The settings that a folder was begun with, {} where it is new."""
        found: dict = folder.manifest.get("experiment", {}) if (folder / "manifest.json").exists() else {}
        return found

    def _fitted(self, folder: RunFolder) -> bool:
        """Whether the number of epochs is what fits into a budget, or did when the folder was begun."""
        if "epochs" in self.chosen:
            return False
        begun = self._begun(folder)
        return bool(begun.get(FITTED)) if begun else self.candidate.request.budget is not None

    @cached_property
    def speed(self) -> Speed:
        """Of the network under attack, on this machine."""
        return self._speed()

    def _speed(self) -> Speed:
        candidate = self.candidate
        with candidate.display.bar("Measure the speed", None):
            return speed_of(self.network, self.test, candidate.size, candidate.device)

    @cached_property
    def expected(self) -> Expected:
        """What all of it will take."""
        candidate, speed = self.candidate, self.speed
        about = (self._usual, self.train, candidate.attacks, candidate.grids, len(self.test), speed, candidate.device)
        with candidate.display.bar("Time a step of training", None):
            return expected(self.network, self.goal, *about)

    @property
    def log(self) -> Path:
        """The table of its epochs."""
        return self.folder / "training" / f"{self.candidate.name}--{ADVERSARIAL}.csv"

    @cached_property
    def after(self) -> Outlook:
        """What is known of the hardened model before it is attacked."""
        return seen_in(pd.read_csv(self.log), self.training) if self.log.exists() else UNSEEN

    def outlook(self, case: Case) -> Outlook:
        """What is known of a case before it is attacked."""
        return self.after if case.subject.defense == ADVERSARIAL else UNSEEN

    def announce(self) -> None:
        """Say what will be done, how long it will take, and what would make it shorter."""
        try:
            candidate, epochs, found = self.candidate, self.training.epochs, self.expected
        except EscrimeError:
            raise
        except Exception:  # whatever somebody's model raises: training names it
            return
        request, counts, say = candidate.request, (len(self.train), len(self.test)), candidate.display.say
        if note := self.batchnorm_in(self.folder):
            say(f"{'note' if self.training.freeze_batchnorm else 'warning'}: {note}")
        say(plan(self.goal, candidate.attacks, epochs, candidate.size, *counts))
        left = 0 if self.trained else epochs
        total, parts = times(found, left)
        limit = "" if request.budget is None else f"; cut to --budget {duration(request.budget, about=True)}"
        say(f"About {total} on this machine ({candidate.device}): {parts}{limit}.")
        advice = shorter(request, found, left, candidate.size, counts[1], candidate.device)
        if found.total(left) > LONG and advice:
            say(f"Shorter: {'; '.join(advice)}. Stop at any time; the same command continues it.")

    def fine_tune(self, run: Assessment) -> None:
        """Train, where that is not done; what judges it then has a part of the budget, whatever the training took."""
        begun, budget = not self.trained, run.request.budget
        self.hardened  # noqa: B018  # trained here
        if run.end is not None and budget is not None:
            run.end = max(run.end, clock() + (1 - TRAINED) / 2 * budget)
        if begun and self.after is not UNSEEN and "speed" in vars(self):
            candidate = self.candidate
            # Other work may have slowed the first look down; of a budget nothing is spent on another.
            speed = self.speed if budget is not None else self.speed.or_faster(self._speed())
            about = (candidate.attacks, candidate.grids, len(self.test), speed, self.after)
            rest = min(sum(judging(self.network, *about)), run.seconds_left or float("inf"))
            candidate.display.say(f"About {duration(rest, about=True)} to go, by what it withstands of the images held back.")

    def settings(self, folder: RunFolder) -> dict:
        """What a run in the folder that continues this one must share."""
        more: dict = {FITTED: True} if self._fitted(folder) else {}
        training, note = self._training_in(folder).as_dict(taught=False), self.batchnorm_in(folder)
        more |= {BATCHNORM: note} if note else {}
        return {"objective": objective(**self.goal).as_dict(), "training": training} | more

    @cached_property
    def network(self) -> nn.Module:
        """The model as it is before.

        Raises:
            EscrimeError: For one that cannot be trained.
        """
        model, spec = self.candidate.network("it cannot be trained here"), self.candidate.request.model
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise EscrimeError(f"{spec} has no parameter to train: an exported program is fixed. Give the network itself.")
        return model

    @cached_property
    def hardened(self) -> nn.Module:
        """The model after its fine-tuning, from the folder where that is done."""
        candidate, path = self.candidate, self.folder / WEIGHTS
        model = copied(self.network)
        if path.exists():
            load_weights(model, path).eval()
            return model
        result = fit_in_folder(
            self.folder,
            candidate.display,
            f"Harden ({self.goal['name']})",
            model,
            self.train,
            objective(**self.goal),
            self.training,
            log=f"{candidate.name}--{ADVERSARIAL}",
            weights=path,
            about=class_metadata(self.test) | {"model": candidate.loaded.origin, "size": candidate.size},
            seed=candidate.request.seed,
            device=candidate.device,
            team=Processes(candidate.device, alone=True),
        )
        for warning in result.warnings:
            candidate.display.say(f"warning: {warning}")
        return model

    def cases(self, name: str) -> list[Case]:
        before = Subject(name, self.network)
        return as_cases([before, Subject(name, self.hardened, ADVERSARIAL, self.network)])


def harden(
    request: Request,
    out: Path | str | None,
    *,
    goal: dict,
    training: dict | None = None,
    device: torch.device,
    command: str = "",
    quiet: bool = False,
) -> Assessment:
    """Fine-tune the requested model by the objective `goal` (its name and settings) and evaluate it before and after, in
    the folder `out` (by default one of its own, runs/harden-MODEL), continuing what is there. training: settings of
    TrainSettings.

    Raises:
        EscrimeError: For a model that cannot be trained (a black box), and as `fit` and `assess`.
    """
    candidate = Candidate(request, Display(quiet=quiet), device)
    made = Hardening(candidate, goal, training or {}, lambda: run.folder)
    with candidate.display.bar("Load the model", None):
        made.network  # noqa: B018  # refused before anything is read
    run = Assessment(
        candidate,
        out,
        Processes(device, alone=True),
        verb="harden",
        test=lambda: made.test,
        train=lambda: made.train,
        cases=made.cases,
        settings=made.settings,
        prepare=lambda: made.fine_tune(run),
        outlook=made.outlook,
    )
    if not (run.folder / VERDICT).exists():
        made.announce()
    evaluate_in_folder(run, command)
    return run
