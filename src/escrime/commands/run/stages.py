"""The stages of a run, in the paper's order, each skipped where its result already lies in the run folder."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pandas as pd
from torch import nn

from ...attacks.dgsm import DGSM
from ...data.classes import class_metadata
from ...defenses import PredictionAveraging
from ...evaluation.checks.data import data_findings
from ...evaluation.cost import Passes, passes_of_case
from ...evaluation.flatness import flatness
from ...evaluation.images import Source
from ...evaluation.pipeline import Plan, execute
from ...evaluation.profile import Profiles
from ...evaluation.requests import budget_of, manners_of
from ...evaluation.subjects import as_cases
from ...files import write_whole
from ...results.records import read_records
from ...training import Objective, TrainSettings, objective
from ..shared.fitting import fit_in_folder
from ..shared.store import FolderStore
from .analysis import a_few, pattern_shows_features
from .checking import finish_checks, sample_of
from .context import ExperimentRun
from .examples import make_examples

FLATNESS_IMAGES = 64


def run_stages(run: ExperimentRun) -> list[Path]:
    """Do what is missing and draw the report; return the files drawn. The processes of a team share trainings, attacks and
    checks; the first one does the rest."""
    from ...report import draw_report

    with run.folder.lock() if run.team.first else nullcontext():
        if run.team.first:  # who decodes the images, once per machine that shares the cache
            attacks, untrained = run.attacks()[0], _untrained(run)
            run.folder.prepare(
                run.name, run.settings(), run.dataset(), str(run.device), run.command, attacks=manners_of(attacks)
            )
        run.team.wait()
        untrained = untrained if run.team.first else _untrained(run)
        run.team.wait()  # all have seen what is trained before the first one writes
        for model in run.experiment.models:
            train(run, model, untrained.pop(model, None))
        for model in run.experiment.models:
            evaluate(run, model)
        if not run.team.first:
            return []
        if run.experiment.checks.enabled:
            finish_checks(run.folder, data_findings(run.test, run.as_tested()), run.experiment.headlines)
        records = read_records(run.folder.path)
        for model in run.experiment.models:
            look_closer(run, model, records)
        with run.folder.stage("report"), run.display.bar("Draw figures and report", None) as advance:
            return draw_report(
                run.folder.path, progress=lambda done, total: advance(done=done, total=total, note=f"{done} of {total}")
            )


def _untrained(run: ExperimentRun) -> dict[str, nn.Module]:
    """The networks to train. Weights are loaded before the folder exists, so that a wrong file leaves nothing behind."""
    return {model: run.fresh(model) for model in run.experiment.models if not run.checkpoint(model).exists()}


def train(run: ExperimentRun, model: str, network: nn.Module | None) -> None:
    """Train the untrained `network` (None where that is done), then retrain it adversarially, each once."""
    spec = run.experiment.models[model]
    if network is not None:
        description = {
            "arch": spec.arch,
            "parameters": sum(p.numel() for p in network.parameters()),
            "stands_for": spec.stands_for,
        }
        if run.team.first:
            run.folder.record_model(model, description)
        _fit(run, model, "none", network, "clean", run.experiment.train_settings(model), f"Train {model}")
    for name, defense in run.experiment.defenses.trainings.items():
        if not run.checkpoint(model, name).exists():
            network = run.fresh(model) if defense.from_scratch else run.network(model)
            goal = objective(**defense.objective)
            settings = run.experiment.train_settings(model, name)
            _fit(run, model, name, network, goal, settings, f"Harden {model} ({goal.name})")


def _fit(
    run: ExperimentRun,
    model: str,
    defense: str,
    network: nn.Module,
    goal: str | Objective,
    settings: TrainSettings,
    title: str,
) -> None:
    fit_in_folder(
        run.folder,
        run.display,
        title,
        network,
        run.splits.train,
        goal,
        settings,
        log=f"{model}--{defense}",
        weights=run.checkpoint(model, defense),
        about=class_metadata(run.splits.train)
        | {
            "model": model,
            "defense": defense,
            # What `--model ARCH@FILE` needs to feed them rightly, as `escrime train` notes it.
            "arch": run.experiment.models[model].arch,
            "size": int(run.test.images.shape[-1]),
        },
        seed=run.experiment.seed,
        device=run.device,
        team=run.team,
    )


def expected(run: ExperimentRun, model: str) -> Iterator[tuple[tuple[str, str, str, str], Passes, int]]:
    """(model, defense, threat, attack), network passes per image, and images, for all that `evaluate` will do.

    Before training there are no networks yet; their number of passes does not depend on the weights.
    """
    spec = run.experiment.defenses
    cases = as_cases(run.subjects(model, untrained=True))
    draws, eot = (spec.ppa.draws, spec.ppa.eot) if spec.ppa else (1, 1)
    attacks, grids = run.attacks()
    for case in cases:
        sharing = sum(other.attacked is case.attacked for other in cases)
        for label, attack in attacks.items():
            passes = passes_of_case(case, attack, grids[label], sharing=sharing, draws=draws, eot=eot)
            yield (*case.name, label), passes, len(run.samples.get((*case.name[1:], label), run.test))


def evaluate(run: ExperimentRun, model: str) -> None:
    """Attack the network and each defense at every ε, and check the numbers; one Parquet part per slice of images."""
    attacks, grids = run.attacks()
    ppa, spec = run.experiment.defenses.ppa, run.experiment
    plan = Plan(
        as_cases(run.subjects(model)),
        Profiles(Source(run.test, run.device), budget_of(attacks, grids), spec.seed),
        attacks,
        grids,
        seed=spec.seed,
        draws=ppa.draws if ppa else 1,
        eot=ppa.eot if ppa else 1,
        effort=spec.checks.effort if spec.checks.enabled else None,
        headlines=spec.headlines,
        samples=run.samples,
        sample=partial(sample_of, run),
    )
    shown = lambda what: run.folder.metered(f"{what} {model}", run.display, noted=run.team.first)  # noqa: E731
    execute(plan, FolderStore(run.folder), run.team, shown)


def look_closer(run: ExperimentRun, model: str, records: pd.DataFrame) -> None:
    """Pictures for the figures, and the two measures behind claims C11 and C12."""
    made = {"examples": (f"{model}.json", f"{model}.npz"), "analysis": (f"{model}.json",)}
    todo = [kind for kind, names in made.items() if not all((run.folder / kind / name).exists() for name in names)]
    if not todo:
        return
    subjects = {subject.defense: subject.classifier for subject in run.subjects(model)}
    ppa = subjects.get("ppa")
    title = f"Look closer at {model}"
    with run.folder.stage(title), run.display.bar(title, len(todo)) as advance:
        if "examples" in todo:
            make_examples(
                run.folder / "examples",
                model,
                subjects["none"],
                ppa if isinstance(ppa, PredictionAveraging) else None,
                run.test,
                records,
                run.attacks()[0],
                run.experiment.attacks.epsilons,
                run.experiment.headline,
                run.experiment.seed,
                run.device,
            )
            advance(note="pictures")
        if "analysis" in todo:
            seed, dgsm = run.experiment.seed, run.attacks()[0].get("DGSM")
            networks = {name: subjects[name] for name in ("none", *run.experiment.defenses.trainings)}
            found: dict[str, dict] = {}
            if (eps := run.experiment.in_linf) is not None:  # the paper's steps are there
                few = a_few(run.test, FLATNESS_IMAGES, seed)
                images, ids = run.test.batch(few, device=run.device), [run.test.ids[row] for row in few]
                found = {"C12": flatness(networks, *images, ids, eps, seed)}
            if isinstance(dgsm, DGSM):
                pattern = pattern_shows_features(subjects["none"], run.test, dgsm, seed, run.device)
                found = ({} if pattern is None else {"C11": pattern}) | found
            write_whole(run.folder / "analysis" / f"{model}.json", json.dumps(found, indent=2), follow=False)
            advance(note="features and flatness")
