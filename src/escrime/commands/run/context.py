"""A run: one experiment in one folder, with its images, networks, defenses and attacks."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from ... import data
from ...attacks.core.base import Attack
from ...budgets import shared_grids
from ...distributed import Processes
from ...errors import EscrimeError, nearest
from ...evaluation.subjects import Subject, as_cases
from ...models import build, load_weights
from ...results.threats import ADAPTIVE
from ..shared.display import Display
from ..shared.folder import RunFolder, about_images
from .schema import ADVERSARIAL, BOTH, Experiment


@dataclass
class ExperimentRun:
    """What every stage needs to know; see stages.py for what is done with it."""

    name: str
    experiment: Experiment
    folder: RunFolder
    display: Display
    device: torch.device
    team: Processes
    command: str = ""

    @cached_property
    def splits(self) -> data.Splits:
        return self._load(self.experiment.data.train_size)

    def as_tested(self) -> data.ImageSet:
        """The training images at the size of the test images."""
        return self.splits.train if self.experiment.data.train_size is None else self._load(None, "train").train

    def _load(self, train_size: int | None, split: str | None = None) -> data.Splits:
        spec = self.experiment.data
        with self.display.reading() as progress:
            return data.load(
                spec.name,
                split=split,
                size=spec.size,
                train_size=train_size,
                folder=spec.folder,
                download=spec.folder is None,
                on_error="skip" if spec.skip_unreadable else "raise",
                progress=progress,
            )

    @cached_property
    def test(self) -> data.ImageSet:
        limit = self.experiment.data.limit
        return self._drawn(self.splits.test, limit) if limit else self.splits.test

    @cached_property
    def targets(self) -> dict[str, int | None]:
        """The index of the class that each attack moves towards, by label; None for any wrong one."""
        return {label: self._class(section.target) for label, section in self.experiment.attacks.by_label.items()}

    def _class(self, wanted: str | int | None) -> int | None:
        classes = self.splits.test.classes
        if wanted is None:
            return None
        for names in (classes, self.splits.test.wnids or ()):
            if str(wanted) in names:
                return names.index(str(wanted))
        if isinstance(wanted, int) and 0 <= wanted < len(classes):
            return wanted
        raise EscrimeError(
            f"target {wanted!r} is not a class of {self.splits.test.name} ({', '.join(classes)}).{nearest(wanted, classes)}"
        )

    def dataset(self) -> dict:
        """What the manifest notes of the data."""
        return about_images(self.test, self.splits.train)

    def settings(self) -> dict:
        """What a manifest notes of the experiment."""
        found = self.experiment.model_dump(mode="json", by_alias=True)
        return {name: value for name, value in found.items() if value or name != "threats"}  # as before there were any

    def held_by(self, folder: RunFolder) -> bool:
        """Whether the folder holds this experiment on this data; AnotherRun where it holds something else."""
        return folder.holds({"experiment": self.settings(), "dataset": self.dataset()})

    def checkpoint(self, model: str, defense: str = "none") -> Path:
        return (
            self.folder / "checkpoints" / (f"{model}.safetensors" if defense == "none" else f"{model}--{defense}.safetensors")
        )

    def fresh(self, model: str) -> nn.Module:
        """The network before any training here: random or pre-trained, its output layer cut to the classes."""
        spec, train = self.experiment.models[model], self.splits.train
        indices = data.DATASETS[self.experiment.data.name].imagenet_indices
        head = spec.head if indices is not None else "new"
        return build(
            spec.arch,
            len(train.classes),
            weights=None if spec.weights == "none" else spec.weights,
            head=head,
            class_indices=indices if head == "slice" else None,
            seed=self.experiment.seed,
            mean=spec.mean,
            std=spec.std,
        ).to(self.device)

    def network(self, model: str, defense: str = "none") -> nn.Module:
        """The trained network from its checkpoint, in eval mode."""
        spec = self.experiment.models[model]
        network = build(spec.arch, len(self.splits.train.classes), seed=self.experiment.seed)
        return load_weights(network, self.checkpoint(model, defense)).to(self.device).eval()

    def subjects(self, model: str, untrained: bool = False) -> list[Subject]:
        """The network and each of its defenses; with `untrained`, stand-ins that only count passes."""
        load = (lambda *name: nn.Identity()) if untrained else self.network
        network, spec = load(model), self.experiment.defenses

        hardened = {name: load(model, name) for name in spec.trainings}
        subjects = [Subject(model, network)]
        if spec.ppa:
            subjects.append(Subject(model, spec.ppa.around(network), "ppa", network))
        subjects += [Subject(model, other, name, network) for name, other in hardened.items()]
        if spec.ppa and spec.both:
            subjects.append(Subject(model, spec.ppa.around(hardened[ADVERSARIAL]), BOTH, network))
        return subjects

    def attacks(self) -> tuple[dict[str, Attack], dict[str, list[float]]]:
        """The attacks by label, and their ε grids."""
        sections = self.experiment.attacks.by_label
        attacks = {label: section.build(self.targets[label]) for label, section in sections.items()}
        return attacks, shared_grids(self.experiment.attacks.epsilons)

    @cached_property
    def samples(self) -> dict[tuple[str, str, str], frozenset]:
        """Ids of the images for attacks that would cost too much on all, by (defense, threat, attack).

        Stratified by class; of every subset at most `limit`, and no more than `adaptive_limit` through prediction averaging,
        where every pass costs `samples` passes. Of two such draws the smaller is part of the larger.
        """
        found = {}
        for case in as_cases(self.subjects(next(iter(self.experiment.models)), untrained=True)):
            _, defense, threat = case.name
            costly = threat == ADAPTIVE and defense in ("ppa", BOTH)
            for label, spec in self.experiment.attacks.by_label.items():
                limits = [limit for limit in (spec.limit, costly and spec.adaptive_limit) if limit]
                if limits:
                    found[(defense, threat, label)] = frozenset(self._drawn(self.test, min(limits)).ids)
        return found

    def _drawn(self, images: data.ImageSet, limit: int) -> data.ImageSet:
        """At most `limit` of each subset, drawn on its own, so that the leak-free images do not crowd the standard sample."""
        return images.limit(limit, self.experiment.seed, share=False)
