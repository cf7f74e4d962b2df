"""How long a run will take on this machine, stage by stage, and what would make it shorter."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...evaluation.images import PART
from ...models import build, prepare
from ...results.keys import parts_of
from ...terminal import duration
from ...training import Objective, objective
from ...training.pace import seconds_per_image
from .checking import expected_checks
from .context import ExperimentRun
from .rates import Rates, measure
from .stages import expected

LONG = 180  # seconds from which the whole table is shown
TRIED = 1.0  # seconds of each training that are tried to time it


@dataclass(frozen=True)
class Estimate:
    stage: str
    seconds: float


def estimate(run: ExperimentRun) -> list[Estimate]:
    """Seconds of every unfinished stage: trainings timed on a few images, the rest from counted passes at the speed of now."""
    size, images = run.test.images.shape[-1], len(run.splits.train)
    stages = []
    for model, spec in run.experiment.models.items():
        network = build(spec.arch, len(run.splits.train.classes)).to(run.device)
        for about, defense, goal in _trainings(run, model):
            settings = run.experiment.train_settings(model, defense)
            step = seconds_per_image(network, run.splits.train, goal, settings, device=run.device, about=TRIED)
            stages.append(Estimate(f"{about}: {settings.epochs} epochs", settings.epochs * images * step))
        attacking = measure(prepare(network), size, run.device)
        stages += [Estimate(f"Attack {model}: {what}", seconds) for what, seconds in _attacks(run, model, attacking) if seconds]
        stages += [Estimate(f"Check {model}: {what}", seconds) for what, seconds in _checks(run, model, attacking)]
    return stages


def _trainings(run: ExperimentRun, model: str) -> Iterator[tuple[str, str, Objective]]:
    """(what it is called, the defense it makes, its objective) of the trainings that are open."""
    if not run.checkpoint(model).exists():
        yield f"Train {model}", "none", objective("clean")
    for name, defense in run.experiment.defenses.trainings.items():
        if not run.checkpoint(model, name).exists():
            goal = objective(**defense.objective)
            yield f"Harden {model} ({goal.name})", name, goal


def _attacks(run: ExperimentRun, model: str, rates: Rates) -> Iterator[tuple[str, float]]:
    """Seconds left of every (defense, threat, attack) of one model."""
    done = [path.stem for path in (run.folder / "records").glob(f"{model}--*.parquet")]
    for key, passes, images in expected(run, model):
        parts = -(-len(run.test) // PART)
        unfinished = images * (1 - sum(stem.startswith(parts_of(key)) for stem in done) / parts)
        _, defense, threat, attack = key
        where = "" if defense == "none" else f" on {defense}, {threat}"
        yield f"{attack}{where}", unfinished * (passes.forwards * rates.forward + passes.gradients * rates.gradient)


def _checks(run: ExperimentRun, model: str, rates: Rates) -> Iterator[tuple[str, float]]:
    """Seconds of the examinations left, about: they stop where an image falls or success is out of sight."""
    for what, passes, images in expected_checks(run, model):
        yield what, images * (passes.forwards * rates.forward + passes.gradients * rates.gradient)


def announce(run: ExperimentRun) -> None:
    """Print the estimate; for a long run the table and the settings that shorten it."""
    stages = estimate(run)
    total = sum(stage.seconds for stage in stages)
    if total < LONG:
        if stages:
            run.display.say(f"About {duration(total, about=True)} of work on this machine.")
        return
    run.display.say(f"This run needs about {duration(total, about=True)} on this machine ({run.device}):")
    for stage in stages:
        run.display.say(f"  {duration(stage.seconds, about=True):>8}  {stage.stage}")
    run.display.say(
        "Shorter: " + "; ".join(shorter(run, stages)) + ". It can be stopped at any time; run it again to continue."
    )


def shorter(run: ExperimentRun, stages: list[Estimate]) -> list[str]:
    """What would cut the largest parts of this run."""
    training = sum(s.seconds for s in stages if s.stage.startswith(("Train", "Harden")))
    attacks = sum(s.seconds for s in stages) - training
    advice = []
    if attacks > training / 4 and len(run.test) > 50:
        advice.append(f"--limit 50 (the paper's number of test images) instead of {len(run.test)}")
    if training > attacks / 4:
        advice.append("fewer --epochs and --adversarial-epochs")
    if (size := run.test.images.shape[-1]) > 64:
        advice.append(f"--size {max(64, size // 2)}, about a quarter of the work")
    if sum(s.seconds for s in stages if s.stage.startswith("Check")) > attacks / 4:
        advice.append("smaller numbers in [checks] of the experiment file")
    if len(run.experiment.models) > 1:
        advice.append(f"one of the models: --models {next(iter(run.experiment.models))}")
    if run.device.type == "cpu":
        advice.append("--device cuda on a machine with a GPU")
    return advice
