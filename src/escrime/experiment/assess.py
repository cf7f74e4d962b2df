"""`escrime evaluate`: how robust a model is as it stands, on images of the user's, in a run folder that can be continued."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from glob import escape
from pathlib import Path

import torch
from torch import nn

from .. import data
from ..attacks import RayS
from ..errors import EscrimeError
from ..evaluation import read_records
from ..evaluation.approach import Approaches, as_attacked
from ..evaluation.budget import (
    LEAST,
    LOOKED,
    budget_findings,
    images_for_a_look,
    judged_by_all,
    kept_for_checks,
    passes_of_checks,
    seconds_per_pass,
)
from ..evaluation.cases import Case, as_cases, as_subjects
from ..evaluation.checks.batch import BatchEffect
from ..evaluation.checks.data import data_findings
from ..evaluation.checks.finding import Finding
from ..evaluation.checks.inputs import input_findings
from ..evaluation.effort import Effort
from ..evaluation.engine import budget_of, evaluate_parts
from ..evaluation.images import PART, Source
from ..evaluation.progress import Meter
from ..evaluation.work import about_passes
from ..models import Loaded, load_model
from ..models.deadline import as_time_allows, clock, deadline, listening, time_left
from ..models.running import check_logits, failure_named, no_trace
from ..models.specs.black_box import Asked
from ..randomness import key, row_keys
from ..training.identity import weights_digest
from ..training.processes import Processes
from .checking import check, cut_short, finish_checks, images_in, parts_in
from .folder import RunFolder, about_images
from .progress import Display
from .question import ATTACKS, USUAL, Question, short_name

OF_ITS_SIZE = "give the size it was made for with --size, or mend the model"
LOOK = 64  # images that tell whether the model was loaded and fed rightly
EFFORT = Effort(images=64, steps=50, queries=500, draws=200, eot=4, doublings=1)
MORE = 3.0  # times what the checks took, which must be left to go on after them
KNOWN_BY = 16  # images whose answers tell a model from another


class Assessment:
    """One evaluation in one folder, by one process or by all of a `team`, each with its share of the parts."""

    def __init__(self, question: Question, folder: RunFolder, display: Display, device: torch.device, team: Processes):
        self.question, self.folder, self.display, self.device, self.team = question, folder, display, device, team

    train: data.ImageSet | None = None  # images that the model was trained on, where they are known

    @cached_property
    def loaded(self) -> Loaded:
        return load_model(self.question.model, self.question.mean, self.question.std, trust=self.question.trust)

    @cached_property
    def model(self) -> nn.Module | Callable:
        """The model on its device; behind a wall of scores or labels where the threat model says so."""
        model, threat = self.loaded.model, self.threat
        if isinstance(model, nn.Module):
            model = model.to(self.device)
        if threat == "white-box" or self.loaded.answers != "gradients":
            return model
        return Asked(model, labels=threat == "labels")

    @cached_property
    def threat(self) -> str:
        """The threat model asked for, or the strongest that the model allows."""
        answers, wanted = self.loaded.answers, self.question.threat
        if answers == "gradients":
            return wanted or "white-box"
        if wanted == "white-box" or (answers == "labels" and wanted == "scores"):
            raise EscrimeError(f"{self.question.model} gives away {answers} only; threat {wanted!r} needs more.")
        return wanted or answers

    @cached_property
    def test(self) -> data.ImageSet:
        """The images with the model's labels, in an order drawn from the seed, so that any first part stands for all."""
        with self.display.reading() as progress:
            images = data.load_to_judge(
                self.question.images, self.size, download=True, on_error=self.on_error, progress=progress
            )
        return self.to_judge(images)

    @property
    def size(self) -> int:
        """The edge length of the images in pixels."""
        return self.question.size or self.loaded.size or 224

    @property
    def on_error(self) -> str:
        return "skip" if self.question.skip_unreadable else "raise"

    def to_judge(self, images: data.ImageSet) -> data.ImageSet:
        seed = self.question.seed
        images = images.limit(self.question.limit, seed) if self.question.limit else images
        order = sorted(range(len(images)), key=lambda row: key(seed, "order", images.ids[row]))
        return self.with_labels(images.select(order))

    def with_labels(self, images: data.ImageSet) -> data.ImageSet:
        """The images with the labels that the model gives their classes."""
        count = self._first_answer(images).shape[1]
        return data.labels_for(images, count, self.loaded.classes, self.loaded.wnids, self.question.model)

    def _first_answer(self, images: data.ImageSet) -> torch.Tensor:
        """The logits (1, K) of the first image; EscrimeError for a model that cannot take it."""
        pixels, _ = images.batch([0], self.device)
        side = pixels.shape[-1]
        with (
            failure_named(f"{self.question.model} fails on an image of 3 × {side} × {side} in [0, 1]", OF_ITS_SIZE),
            torch.no_grad(),
        ):
            return check_logits(self.model(pixels), pixels)

    @cached_property
    def attacks(self) -> dict:
        kind = {"white-box": "gradients"}.get(self.threat, self.threat)
        names = self.question.attacks or USUAL[kind]
        blind = [name for name in names if self.threat != "white-box" and name not in ("Square", "RayS")]
        if blind:
            raise EscrimeError(
                f"attack {blind[0]!r} needs gradients, which threat {self.threat!r} has not; use Square or RayS."
            )
        if "RayS" in names and self.question.norm != RayS.norm:
            raise EscrimeError("RayS works in l_inf only; leave it out or use --norm linf.")
        return {name: ATTACKS[name](max(self.question.epsilons), norm=self.question.norm) for name in names}

    @property
    def grids(self) -> dict[str, list[float]]:
        """The first attack is also scored at ε = 0."""
        grid = sorted(self.question.epsilons)
        return {name: ([0.0, *grid] if at == 0 else grid) for at, name in enumerate(self.attacks)}

    def settings(self) -> dict:
        """What a run that continues this one must share."""
        return self.question.settings() | {"threat": self.threat, "attacks": list(self.attacks)}

    @cached_property
    def source(self) -> Source:
        return Source(self.test, self.device)

    @cached_property
    def identity(self) -> dict:
        """What tells the model from another under the same name: a hash of its weights, and mean, spread and maximum of its
        logits for a few images; None for what a model has not, or answers differently each time."""
        images = self.source.few(KNOWN_BY, self.question.seed).pixels
        keys = [(self.question.seed, row, "identity") for row in range(len(images))]

        def answers() -> list:
            with torch.no_grad(), no_trace(self.model, self.device), row_keys(keys):
                logits = check_logits(self.model(images.clone()), images).double()
            return torch.stack([logits.mean(1), logits.std(1), logits.amax(1)], dim=1).cpu().tolist()

        model, found = self.loaded.model, answers()
        return {
            "weights": weights_digest(model) if isinstance(model, nn.Module) else None,
            "answers": found if alike(found, answers()) else None,
        }

    def refuse_another_model(self, old: dict) -> None:
        """EscrimeError where the `identity` that a folder holds is another's."""
        for what, value in self.identity.items():
            if old.get(what) is not None and value is not None and not alike(old[what], value):
                raise EscrimeError(
                    f"{self.folder.path} was made with {self.question.model} when it had other {what}; "
                    "give another folder with --out, or delete this one."
                )

    fed: list[Finding] | None = None  # what a look found about how the model is fed, [] where nobody could tell
    end: float | None = None  # when the budget is spent

    def begin(self) -> None:
        """Loaded and read: from here on the time counts."""
        self.end = None if self.question.budget is None else clock() + self.question.budget

    @property
    def left(self) -> float | None:
        return None if self.end is None else self.end - clock()

    @cached_property
    def approaches(self) -> Approaches:
        found = Approaches(self.source, budget_of(self.attacks, self.grids), self.question.seed, self.look_at)
        if self.fed is not None:
            found.fed[id(self.model)] = self.fed
        return found

    def approached(self, name: str, before: dict | None) -> dict:
        """What a manifest notes where there is or was too little time to look at as many images as usual: how each case was
        approached. Records that were made by another approach, `before`, are deleted, to be made again."""
        if before is None and self.look_at == PART:
            return {}
        found: dict[str, dict] = {}
        with deadline(self.left), as_time_allows("the first look"):
            for case in as_attacked(self.cases(name), self.approaches):
                known, scored = self.approaches[case.attacked], self.approaches[case.subject.classifier]
                found["--".join(case.name)] = {
                    "settings": {name: str(value) for name, value in known.settings.items()},
                    "randomized": [known.randomized, scored.randomized],
                }
        for stem in (stem for stem, now in found.items() if (before or {}).get(stem, now) != now):
            self.display.say("note: a longer look at the model asks for other attacks; what was done before is done again.")
            for path in [*parts_in(self.folder, f"{stem}--"), *(self.folder / "checks").glob(f"{escape(stem)}--*.json")]:
                path.unlink()
        return {"approach": (before or {}) | found}

    def affordable(self, most: int, passes: int) -> int:
        """How many images, at most `most`, a look may take that asks the model `passes` times about each."""
        budget = self.question.budget
        return most if budget is None else images_for_a_look(budget, passes, self._each, most)

    @cached_property
    def _each(self) -> float:
        """Seconds that the model takes for an image."""
        return seconds_per_pass(self.model, self.source.few(LOOKED, self.question.seed).pixels)

    @property
    def look_at(self) -> int:
        """Images that show how a model is approached."""
        return self.affordable(PART, 21)

    def look(self) -> None:
        """Refuse to spend an hour on a model that was loaded or fed wrongly."""
        images = self.source.few(self.affordable(LOOK, 8), self.question.seed)
        blind = self.threat != "white-box"
        seed, more = self.question.seed, self.source.few_pairs(self.question.seed)
        nothing = BatchEffect(0, 0, "", 0.0, "")  # what company does is looked at later, once
        found = input_findings(self.model, images.pixels, images.labels, False, seed, blind=blind, batch=nothing, more=more)
        self.fed = [finding for finding in found if finding.id == "input-range"]
        for finding in found:
            if finding.severity == "alarm" and finding.id in ("near-chance", "one-class", "non-finite", "input-range"):
                if finding.id != "non-finite" and self.question.anyway:
                    continue
                anyway = "" if finding.id == "non-finite" else " To evaluate it all the same: --anyway."
                raise EscrimeError(f"{finding.message}. {finding.remedy}{anyway}")
            if finding.id == "probabilities" and finding.severity != "passed":
                self.display.say(f"note: {finding.message}. {finding.remedy}")

    def cases(self, name: str) -> list[Case]:
        """What is attacked, and scored under which threat level."""
        return as_cases(as_subjects({name: self.model}))

    def attack(self, name: str) -> None:
        """The attacks, as far as the budget goes; then the checks."""
        cases, approaches = self.cases(name), self.approaches
        with deadline(self.team.told(self.left)):  # of the first process: all have the same time
            checks, again = None, True
            while again:
                with as_time_allows("the attacks"):
                    cases = as_attacked(cases, approaches)
                    with self.folder.stage("Attack") if self.team.first else nullcontext():
                        with self.display.meter("Attack") as meter:
                            self._attack(cases, approaches, meter, checks)
                self.team.wait()
                began = clock()
                judged = self._check(cases, approaches) if self.team.first else 0
                checks = (clock() - began) * len(self.test) / max(judged, 1)
                again = self.team.told(judged < len(self.test) and self._worth_more(clock() - began))

    def _worth_more(self, checked: float) -> bool:
        """Whether there is time to attack more images and to check once more what took so many seconds to check."""
        left = time_left()
        return left is not None and left > max(LEAST * self.question.budget, MORE * checked)

    def _attack(self, cases: list[Case], approaches: Approaches, meter: Meter, checks: float | None) -> None:
        """Part after part, until the time is up but for what is kept for the checks; `checks`: the seconds they would take on
        all images, as far as that was measured."""
        done, team, budget = self._done(), self.team, time_left()
        settled = lambda key: key in done or int(key.rpartition("--")[2]) % team.count != team.rank  # noqa: E731
        for label, attack in self.attacks.items():
            finished = sum(len(images_in(self.folder, f"{'--'.join([*case.name, label])}--")) for case in cases)
            meter.plan(label, (len(self.test) * len(cases) - finished) / team.count, about_passes(attack, self.grids[label]))
        with deadline(None if budget is None else (1 - LEAST) * budget) as limit, listening(meter):
            began = clock()
            work = evaluate_parts(
                cases,
                self.source,
                approaches,
                self.attacks,
                self.grids,
                seed=self.question.seed,
                draws=8,
                eot=8,
                finished=settled,
                failed=lambda part, reason: self.folder.note_failure(part.name, reason),
                done=lambda key: images_in(self.folder, f"{key}-"),
                begun=meter.begin,
            )
            for part, frame in work:
                self.folder.write_records(part.key, frame)
                if budget is not None:
                    each = (clock() - began) / max(meter.done + meter.inside, 1)
                    expected = checks or each * sum(passes_of_checks(case, EFFORT, len(self.test)) for case in cases)
                    limit.end = began + budget - kept_for_checks(budget, expected)

    def _check(self, cases: list[Case], approaches: Approaches) -> int:
        """How many images were judged."""
        if not self._done():
            raise EscrimeError(
                f"{self.question.budget:g} s were up before any attack had finished one image; nothing can be said yet. Run "
                "again with a larger --budget."
            )
        judged = judged_by_all(read_records(self.folder.path))
        check(
            self.folder,
            self.display,
            "Check",
            cases,
            approaches,
            lambda: (images for images in self.source() if any(str(name) in judged for name in images.ids)),
            headline=self.question.epsilons[0],
            effort=EFFORT,
            seed=self.question.seed,
            draws=8,
            among=judged,
        )
        records, cut = read_records(self.folder.path), cut_short(self.folder)
        left = budget_findings(records, cases, list(self.attacks), len(self.test), cut)
        finish_checks(self.folder, [*data_findings(self.test, self.train), *left], self.question.epsilons[0])
        return len(judged)

    def _done(self) -> set[str]:
        return {path.stem for path in (self.folder / "records").glob("*.parquet")}


def alike(one, other) -> bool:
    """Whether two hashes are the same, or two tables of logits the same but for another machine's rounding."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    one, other = torch.tensor(one), torch.tensor(other)
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True)


def assess(
    question: Question,
    out: Path | str | None,
    *,
    device: torch.device,
    team: Processes | None = None,
    command: str = "",
    quiet: bool = False,
) -> Assessment:
    """Answer `question` in the folder `out` (by default runs/evaluate-MODEL), continuing what is there. Of several processes
    (`team`, by default those of torch.distributed) the first checks and reports.

    Errors: EscrimeError for whatever cannot be evaluated, before anything is written.
    """
    name, team = short_name(question.model), team or Processes(device)
    folder = RunFolder(out or Path("runs") / f"evaluate-{name}")
    run = Assessment(question, folder, Display(quiet=quiet or not team.first), device, team)
    answer_in_folder(run, name, command)
    return run


def answer_in_folder(run: Assessment, name: str, command: str) -> None:
    """Make or continue the run folder, attack, check, draw the report."""
    from ..report import draw_report

    normalized = f", normalization: {run.loaded.normalization}" if run.loaded.normalization else ""
    run.display.say(f"{run.question.model} on {run.question.images}{normalized}")
    if not run.team.first:
        run.team.wait()  # the first process decodes the images, looks at the model, and makes the folder
        run.attack(name)
        return
    run.attacks, run.test, run.begin(), run.look()
    dataset, settings = about_images(run.test, run.train), run.settings()
    model = run.loaded.model
    parameters = sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else None
    facts = {"arch": run.loaded.origin, "parameters": parameters, "stands_for": None, "threat": run.threat}
    with run.folder.lock():
        run.folder.prepare(name, settings, dataset, str(run.device), command, kind="evaluation")
        old = run.folder.manifest["models"].get(name, {})
        run.refuse_another_model(old)
        run.folder.record_model(name, facts | run.identity | run.approached(name, old.get("approach")))
        run.team.wait()
        run.attack(name)
        with run.folder.stage("report"), run.display.bar("Draw the report", None):
            draw_report(run.folder.path)
