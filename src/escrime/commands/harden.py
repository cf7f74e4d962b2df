"""`escrime harden`: adversarial fine-tuning of a user's model, and what it bought: before and after in one report."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from .. import data
from ..data.classes import class_metadata
from ..distributed import Processes
from ..errors import EscrimeError
from ..evaluation.subjects import Case, Subject, as_cases
from ..models import load_weights
from ..models.fast.prepare import copied
from ..training import TrainSettings, objective
from .evaluate.assessment import Assessment, evaluate_in_folder
from .evaluate.candidate import Candidate
from .evaluate.request import Request
from .run.schema import ADVERSARIAL
from .shared.display import Display
from .shared.fitting import fit_in_folder
from .shared.folder import RunFolder

WEIGHTS = "weights.safetensors"
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
        probed = getattr(objective(**self.goal), "eps", None) is not None
        held = min(HELD, len(self.train) // 5) if probed else 0
        usual = USUAL | {"probe_images": held} if held else {**USUAL, "keep": "last"}
        return TrainSettings(**usual | self.chosen)

    def settings(self) -> dict:
        return {"objective": objective(**self.goal).as_dict(), "training": self.training.as_dict(taught=False)}

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
        candidate, folder = self.candidate, self._folder()
        path = folder / WEIGHTS
        model = copied(self.network)
        if path.exists():
            load_weights(model, path).eval()
            return model
        result = fit_in_folder(
            folder,
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
    )
    evaluate_in_folder(run, command)
    return run
