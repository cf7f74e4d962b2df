"""`tune`: ε_max and N of prediction averaging by the clean-and-attacked trade-off, validated on other images."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from ..budgets import eps_text, same
from ..data import ImageSet
from ..defenses import PredictionAveraging
from ..models import deadline
from ..progress import ProgressOption, shown
from ..results.choosing import UNDEFENDED, Choice, attacked, choose, objective, paired, scores_by_point, share, table_of
from ..results.statistics import p_text
from ..results.threats import ADAPTIVE, TRANSFER, WHITE_BOX
from ..results.undecided import why_undecided
from .evaluation import Evaluation, evaluate
from .shared_copies import Grid, halves, parts_in, tuning_parts
from .store import MemoryStore, Store
from .subjects import Subject

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Tuning:
    """What `tune` returns.

    Args:
        grid: what was tried.
        records: one row per (ε_max, N, condition, image) of the choosing half; `correct` is the share of noise draws that were
            right.
        table: one row per (ε_max, N), see `choosing.table_of`.
        choice: which of them was chosen, and whether it is worth its cost.
        validation: the candidate and the undefended network on the other half.
        validated: the same in numbers.
    """

    grid: Grid
    records: pd.DataFrame
    table: pd.DataFrame
    choice: Choice
    validation: Evaluation
    validated: dict

    @property
    def confirmed(self) -> bool:
        """Whether the candidate beats the undefended network on the other images too, by the exact paired test at 5 %."""
        test = self.validated["tests"]["mean"]
        return test["difference"] > 0 and test["p"] < SIGNIFICANT

    @property
    def undecided(self) -> str:
        """Why these images cannot tell whether a setting is worth its cost, "" where they can."""
        labels = self.validation.records.drop_duplicates("image")["label"].to_numpy()
        return why_undecided(self.table, self.choice, self.validated, self.confirmed, labels)

    @property
    def sentence(self) -> str:
        """What to choose, with what it rests on; or that nobody can tell, and why."""
        new, where = self.validated, f"the {self.grid.against} attack at ε = {eps_text(float(self.grid.eps))}"
        if reason := self.undecided:
            return f"Cannot tell what to choose against {where}: {reason}."
        setting = f"ε_max = {eps_text(new['eps_max'])} and N = {new['samples']}"
        side = lambda name: f"{new[name]['clean'][0]:.1%} clean and {new[name]['attacked'][0]:.1%} attacked"  # noqa: E731
        test = new["tests"]["mean"]
        gain = f"{100 * test['difference']:+.1f}".replace("-", "−")
        proof = (
            f"on {new['n']} other images {side('candidate')}, undefended {side('undefended')}; the mean of both changes by "
            f"{gain} points (standard error {100 * test['standard_error']:.1f}, exact paired test {p_text(test['p'], 'p')})"
        )
        if self.choice.worth_it:
            return f"Against {where} choose {setting}: {proof}."
        return f"Against {where} no setting is worth its cost: undefended is as good. The best of them, {setting}: {proof}."

    @property
    def notes(self) -> list[str]:
        """What to know before quoting the sentence."""
        new, found = self.validated, []
        weak = new["tests"]["adaptive over transfer"]
        if self.grid.against == ADAPTIVE and weak["difference"] > 0 and weak["p"] < SIGNIFICANT:
            found.append(
                "The attack that ignores the defense does better than the adaptive one, which is then too weak to rely on; "
                "counted is the better of the two. Try more steps."
            )
        if self.undecided:
            return found
        if self.choice.worth_it and self.choice.chosen[0] == self.grid.eps_max[-1]:
            found.append("The chosen ε_max is the largest of the grid; larger ones may be better.")
        if self.choice.best[1] == self.grid.most:
            found.append("The best N is the largest of the grid; larger ones may be better.")
        return found


@torch.inference_mode(False)  # see evaluate
def tune(
    model: nn.Module,
    data: Any,
    eps: float | str,
    *,
    eps_max: Sequence[float | str] = Grid.eps_max,
    samples: Sequence[int] = Grid.samples,
    against: str = Grid.against,
    steps: int = Grid.steps,
    draws: int = Grid.draws,
    eot: int = Grid.eot,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: ProgressOption = None,
) -> Tuning:
    """Choose ε_max and N of `PredictionAveraging(model, ε_max, N)` on one half of `data`, and validate them on the other.

    Three accuracies for each (ε_max, N), all verified and scored on the model itself: *clean*; *transfer*, PGD on the
    undefended network, once for all points; *adaptive*, PGD through the average of N_max copies with expectation over its
    noise, once per ε_max and scored for every N. For N < N_max the last is an approximation, too kind to small N: that attack
    was not made for them. The validation repeats it for the true N, with more draws.

    The choice, by the one-standard-error rule: the highest mean of clean and attacked accuracy; of the settings not below
    that by more than one standard error of the paired difference, the cheapest (smallest N, then ε_max). The undefended
    network is the cheapest of all: where no setting beats it by more than that, none is worth its cost. Attacked accuracy is
    that under the transfer attack, or for against="adaptive" under the better of the two attacks.

    Args:
        model: the undefended classifier, images (N, C, H, W) in [0, 1] → logits (N, K), deterministic.
        data: at least 20 images, in any form that `evaluate` takes; their pixels are rounded to 8 bits.
        eps: the attacker's budget, a fraction of the color range or such as "8/255".
        eps_max: the radii of noise to try, such fractions too.
        samples: the numbers of copies N to try.
        against: the attack that counts, "adaptive" or "transfer".
        steps: of PGD.
        draws: noise draws behind each score.
        eot: noise draws of the average behind each gradient.
        seed: of all randomness.
        device: where the model is moved to; by default it stays where it is.
        progress: True for a bar, a callable (done, total, note) that is called with the share done, of 1, False for neither; by
            default a bar on a terminal or in a notebook.

    Returns:
        The choice, what it was chosen by, and the candidate on other images.

    Raises:
        EscrimeError: for settings outside these, fewer than 20 images, or a model that is randomized or no torch module.
    """
    grid = Grid(eps, eps_max, samples, against, steps, draws, eot)
    choosing, validating = halves(data, seed)
    with shown(progress, "Tune") as listener:
        parts, done, passes, share = len(parts_in(choosing, grid)), 0, 0, 0.0
        whole = parts + parts / len(grid.eps_max)  # the validation of one radius costs about as much as its measurement

        def tell(now: float, note: str) -> None:
            nonlocal share
            share = max(share, now / whole)
            if listener is not None:
                listener(share, 1.0, note)

        def step(note: str) -> None:
            nonlocal done, passes
            done, passes = done + 1, 0
            tell(done, note)

        def count(more: int) -> None:
            nonlocal passes
            passes += more  # of how many nobody knows, so that it nears the end of its part and never reaches it
            tell(done + passes / (passes + len(choosing) * grid.most * grid.steps), "measure")

        with deadline.listening(count) if listener else nullcontext():
            records = measure(model, choosing, grid, MemoryStore(), seed=seed, device=device, step=step)
        validate = lambda now, total, _: tell(parts + (whole - parts) * now / total, "validate")  # noqa: E731
        return conclude(model, validating, grid, records, seed=seed, device=device, progress=validate if listener else False)


def measure(
    model: nn.Module,
    choosing: ImageSet,
    grid: Grid,
    store: Store,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    step: Callable[[str], None] = lambda note: None,
) -> pd.DataFrame:
    """Measure what `store` does not hold yet of the choosing half.

    Args:
        model: the undefended classifier.
        choosing: that half of the images.
        grid: what is tried.
        store: keeps the parts; the keys of other grids, seeds or images are the same, so one store serves one request.
        seed: of all randomness.
        device: where the model is moved to.
        step: called with a note after each part.

    Returns:
        All records of the choosing half, as in a Tuning.
    """
    for part, rows in tuning_parts(model, choosing, grid, seed=seed, device=device, finished=store.finished):
        store.write(part.key, rows)
        step(f"ε_max = {eps_text(part.eps_max)}")
    return store.records()


def conclude(
    model: nn.Module,
    validating: ImageSet,
    grid: Grid,
    records: pd.DataFrame,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: ProgressOption = False,
) -> Tuning:
    """Choose by the records of the choosing half, and evaluate the candidate and the undefended network on the other.

    Args:
        model: the undefended classifier.
        validating: the other half of the images.
        grid: what was tried.
        records: of the choosing half, as in a Tuning.
        seed: of all randomness.
        device: where the model is moved to.
        progress: of the validation, as of `evaluate`.

    Returns:
        As `tune`.
    """
    scores = {point: objective(found, grid.against).to_numpy() for point, found in scores_by_point(records).items()}
    choice = choose(scores)
    radius, copies = point = choice.candidate
    if point == UNDEFENDED:  # it beats them all; the best of the others is looked at all the same
        radius, copies = max((p for p in scores if p != UNDEFENDED), key=lambda p: scores[p].mean())
    subjects = [Subject("model", model), Subject("model", PredictionAveraging(model, radius, copies), "ppa", model)]
    attacks, epsilons = {"PGD": grid.attack}, [0.0, grid.eps]
    about: dict[str, Any] = {"epsilons": epsilons, "seed": seed, "device": device, "checks": False, "progress": progress}
    evaluation = evaluate(subjects, validating, attacks, **about)
    validated = {"eps_max": radius, "samples": copies} | _validated(evaluation, grid)
    return Tuning(grid, records, table_of(records, grid.against, choice), choice, evaluation, validated)


def _validated(evaluation: Evaluation, grid: Grid) -> dict:
    """Accuracies with intervals of the candidate and the undefended network, and the paired tests between them."""
    records = evaluation.records

    def column(defense: str, threat: str, eps: float) -> pd.Series:
        rows = records[(records["defense"] == defense) & (records["threat"] == threat) & same(records["eps"], eps)]
        return rows.set_index("image")["correct"]

    def side(defense: str, transfer: str, adaptive: str) -> pd.DataFrame:
        clean = column(defense, grid.against if defense == "ppa" else transfer, 0.0)
        ignoring, knowing = (column(defense, threat, float(grid.eps)) for threat in (transfer, adaptive))
        return pd.DataFrame({"clean": clean, TRANSFER: ignoring, ADAPTIVE: knowing})

    sides = {"candidate": side("ppa", TRANSFER, ADAPTIVE), "undefended": side("none", WHITE_BOX, WHITE_BOX)}
    values: dict[str, dict[str, pd.Series]] = {}
    found: dict[str, Any] = {"n": len(sides["candidate"])}
    for name, scores in sides.items():
        own = {"attacked": attacked(scores, grid.against), "mean": objective(scores, grid.against)}
        values[name] = {condition: scores[condition] for condition in scores} | own
        found[name] = {condition: share(each) for condition, each in values[name].items() if condition != "mean"}
    first, second = values["candidate"], values["undefended"]
    found["tests"] = {name: paired(first[name], second[name]) for name in ("clean", "attacked", "mean")}
    found["tests"]["adaptive over transfer"] = paired(first[ADAPTIVE], first[TRANSFER])
    return found
