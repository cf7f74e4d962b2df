"""A run: the stages of the paper in order, each skipped where its result already lies in the run folder."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from .. import data
from ..attacks import DGSM, FGSM
from ..defenses import PredictionAveraging
from ..errors import EscrimeError, nearest
from ..evaluation import Subject, read_records
from ..evaluation.cases import as_cases
from ..evaluation.engine import evaluate_parts
from ..evaluation.images import PART, slices
from ..evaluation.records import write_part
from ..evaluation.work import passes_of_case
from ..files import write_whole
from ..models import build, load_weights, save_weights
from ..training import fit, objective
from .analysis import flatness, pattern_shows_features
from .examples import make_examples
from .folder import RunFolder
from .progress import Display
from .schema import Experiment

ADVERSARIAL = "adversarial-training"


@dataclass
class Run:
    """One experiment in one folder. `go()` runs what is missing and draws the report."""

    name: str
    experiment: Experiment
    folder: RunFolder
    display: Display
    device: torch.device
    command: str = ""

    @cached_property
    def splits(self) -> data.Splits:
        spec = self.experiment.data
        with self.display.bar("Read the images", None) as advance:
            return data.load(
                spec.name,
                size=spec.size,
                folder=spec.folder,
                download=spec.folder is None,
                on_error="skip" if spec.skip_unreadable else "raise",
                progress=lambda done, total: advance(done=done, note=f"{done} of {total}"),
            )

    @cached_property
    def test(self) -> data.ImageSet:
        limit = self.experiment.data.limit
        # Each subset is drawn on its own, so that the leak-free images do not crowd the standard sample.
        return self.splits.test.limit(limit, self.experiment.seed, share=False) if limit else self.splits.test

    @cached_property
    def target(self) -> int:
        """The class index DGSM moves towards."""
        wanted, classes = self.experiment.attacks.dgsm.target, self.splits.test.classes
        if str(wanted) in classes:
            return classes.index(str(wanted))
        if isinstance(wanted, int) and 0 <= wanted < len(classes):
            return wanted
        raise EscrimeError(
            f"target {wanted!r} is not a class of {self.splits.test.name} ({', '.join(classes)}).{nearest(wanted, classes)}"
        )

    def go(self) -> list[Path]:
        """Run every stage; return the files of the report."""
        from ..report import draw_report

        with self.folder.lock():
            target = self.target
            self.folder.prepare(self.name, self.experiment, self.dataset(), str(self.device), self.command)
            for model in self.experiment.models:
                self.train(model)
            for model in self.experiment.models:
                self.evaluate(model)
            records = read_records(self.folder.path)
            for model in self.experiment.models:
                self.look_closer(model, records, target)
            with self.folder.stage("report"), self.display.bar("Draw figures and report", None) as advance:
                return draw_report(self.folder.path, progress=lambda done, total: advance(done=done, note=f"{done} of {total}"))

    def dataset(self) -> dict:
        """What the manifest says of the data."""
        train, test = self.splits.train, self.test
        return {
            "name": test.name,
            "classes": list(test.classes),
            "train": len(train),
            "test": len(test),
            "subsets": {name: int(mask.sum()) for name, mask in test.subsets.items()},
            "size": int(test.images.shape[-1]),
            "fingerprint": test.fingerprint,
        }

    # Networks

    def checkpoint(self, model: str, defense: str = "none") -> Path:
        return self.folder / "checkpoints" / (f"{model}.safetensors" if defense == "none" else f"{model}--{defense}.safetensors")

    def fresh(self, model: str) -> nn.Module:
        """The network before any training here: random or pre-trained, its output layer cut to the classes."""
        spec, train = self.experiment.models[model], self.splits.train
        indices = data.IMAGENET_INDICES if train.name == "imagenette" else None
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

    def train(self, model: str) -> None:
        """Train the network, then retrain it adversarially, each once."""
        spec = self.experiment.models[model]
        defense = self.experiment.defenses.adversarial_training
        if not self.checkpoint(model).exists():
            network = self.fresh(model)
            facts = {"arch": spec.arch, "parameters": sum(p.numel() for p in network.parameters()), "stands_for": spec.stands_for}
            self.folder.record_model(model, facts)
            self._fit(model, "none", network, "clean", self.experiment.train_settings(model), f"Train {model}")
        if defense and not self.checkpoint(model, ADVERSARIAL).exists():
            network = self.fresh(model) if defense.from_scratch else self.network(model)
            goal = objective(**defense.objective)
            settings = self.experiment.train_settings(model, adversarial=True)
            self._fit(model, ADVERSARIAL, network, goal, settings, f"Harden {model} ({goal.name})")

    def _fit(self, model, defense, network, goal, settings, title) -> None:
        steps = -(-len(self.splits.train) // settings.batch_size) * settings.epochs
        with self.folder.stage(title), self.display.bar(title, steps) as advance:
            result = fit(
                network,
                self.splits.train,
                goal,
                settings=settings,
                checkpoint=self.folder / "checkpoints" / f"{model}--{defense}",
                seed=self.experiment.seed,
                device=self.device,
                on_batch=lambda done, total: advance(done=done),
                on_epoch=lambda row: advance(
                    0, note=f"epoch {row['epoch']}/{settings.epochs} loss {row['loss']:.3f} train {row['accuracy']:.1%}"
                ),
            )
            result.history.to_csv(self.folder / "training" / f"{model}--{defense}.csv", index=False)
            # The last file of the stage: what it stands for is complete when it exists.
            save_weights(network, self.checkpoint(model, defense), {"model": model, "defense": defense})

    # Evaluation

    def subjects(self, model: str, untrained: bool = False) -> list[Subject]:
        """The network and each of its defenses; with `untrained`, stand-ins that only count passes."""
        load = (lambda *name: nn.Identity()) if untrained else self.network
        network, spec = load(model), self.experiment.defenses
        subjects = [Subject(model, network)]
        if spec.ppa:
            ppa = PredictionAveraging(network, spec.ppa.eps_max, spec.ppa.samples, spec.ppa.average)
            subjects.append(Subject(model, ppa, "ppa", network))
        if spec.adversarial_training:
            subjects.append(Subject(model, load(model, ADVERSARIAL), ADVERSARIAL, network))
        return subjects

    def attacks(self) -> tuple[dict, dict]:
        """The attacks by label, and their ε grids."""
        fgsm, dgsm = self.experiment.attacks.fgsm, self.experiment.attacks.dgsm
        attacks = {
            "FGSM": FGSM(max(fgsm.epsilons)),
            "DGSM": DGSM(max(dgsm.epsilons), self.target, dgsm.steps, dgsm.step_size),
        }
        return attacks, {"FGSM": fgsm.epsilons, "DGSM": dgsm.epsilons}

    def limits(self) -> dict[tuple[str, str], int]:
        """Images for adaptive attacks on prediction averaging, where every pass costs `samples`."""
        specs = {"FGSM": self.experiment.attacks.fgsm, "DGSM": self.experiment.attacks.dgsm}
        return {("ppa", "adaptive", label): spec.adaptive_limit for label, spec in specs.items() if spec.adaptive_limit}

    def expected(self, model: str, cases=None):
        """(model, defense, threat, attack), network passes per image, and images, for all that `evaluate` will do.

        Before training there are no networks yet; their number of passes does not depend on the weights.
        """
        spec, limits, n = self.experiment.defenses, self.limits(), len(self.test)
        cases = cases or as_cases(self.subjects(model, untrained=True))
        draws, eot = (spec.ppa.draws, spec.ppa.eot) if spec.ppa else (1, 1)
        attacks, grids = self.attacks()
        for case in cases:
            sharing = sum(other.attacked is case.attacked for other in cases)
            for label, attack in attacks.items():
                passes = passes_of_case(case, attack, grids[label], sharing=sharing, draws=draws, eot=eot)
                images = min(n, -(-limits.get((*case.name[1:], label), n) // PART) * PART)
                yield (*case.name, label), passes, images

    def evaluate(self, model: str) -> None:
        """Attack the network and each defense at every ε; one Parquet part per slice of images."""
        cases, (attacks, grids), limits = as_cases(self.subjects(model)), self.attacks(), self.limits()
        ppa = self.experiment.defenses.ppa
        draws, eot = (ppa.draws, ppa.eot) if ppa else (1, 1)
        records = self.folder / "records"
        cost = {key: passes.forwards + 3 * passes.gradients for key, passes, _ in self.expected(model, cases)}
        total = sum(cost[key] * images for key, _, images in self.expected(model, cases))
        done = {path.stem for path in records.glob("*.parquet")}
        title = f"Attack {model}"
        with self.folder.stage(title), self.display.bar(title, total) as advance:
            for stem in done:
                advance(cost.get(tuple(stem.split("--")[:4]), 0) * PART)
            for part, frame in evaluate_parts(
                cases,
                lambda: slices(self.test, self.device),
                attacks,
                grids,
                seed=self.experiment.seed,
                draws=draws,
                eot=eot,
                finished=done.__contains__,
                limits=limits,
            ):
                write_part(frame, records / f"{part.key}.parquet")
                defense = "" if part.case.subject.defense == "none" else f" on {part.case.subject.defense}, {part.case.threat}"
                key = (*part.case.name, part.attack)
                advance(cost[key] * frame["image"].nunique(), note=f"{part.attack}{defense}")

    def look_closer(self, model: str, records, target: int) -> None:
        """Pictures for the figures, and the two measures behind claims C11 and C12."""
        todo = [kind for kind in ("examples", "analysis") if not (self.folder / kind / f"{model}.json").exists()]
        if not todo:
            return
        subjects = {subject.defense: subject.classifier for subject in self.subjects(model)}
        title = f"Look closer at {model}"
        with self.folder.stage(title), self.display.bar(title, len(todo)) as advance:
            if "examples" in todo:
                make_examples(
                    self.folder / "examples",
                    model,
                    subjects["none"],
                    subjects.get("ppa"),
                    self.test,
                    records,
                    self.experiment,
                    target,
                    self.device,
                )
                advance(note="pictures")
            if "analysis" in todo:
                seed, spec = self.experiment.seed, self.experiment.attacks.dgsm
                networks = {"clean": subjects["none"]}
                if ADVERSARIAL in subjects:
                    networks[ADVERSARIAL] = subjects[ADVERSARIAL]
                found = {
                    "C11": pattern_shows_features(subjects["none"], self.test, target, spec, seed, self.device),
                    "C12": flatness(networks, self.test, self.experiment.headline, seed, self.device),
                }
                found = {claim: measure for claim, measure in found.items() if measure is not None}
                write_whole(self.folder / "analysis" / f"{model}.json", json.dumps(found, indent=2))
                advance(note="features and flatness")
