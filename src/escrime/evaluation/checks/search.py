"""Looking for what the attacks of an evaluation missed: other losses, more steps, scores alone, random points, transfer,
and smoothed gradients, on the same few images and the same ε.

A white-box attack that any of them beats was misled. Carlini et al. (2019), On evaluating adversarial robustness, section
4.2; Tramèr et al. (2020), On adaptive attacks to adversarial example defenses.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...attacks import APGD, PGD, RandomPoints, RayS, Square
from ...attacks.base import Attack
from ...attacks.surface import Surface
from ...models.twin import Twin
from ..effort import Effort
from ..scoring import score

SMOOTH = (0.25, 0.5)  # of ε: how far around a point its slope is averaged
SMOOTH_SAMPLES = 8
JUDGES = 64  # fresh noise draws behind the judgment of one answer of a randomized model
GIVE_UP = 2.0


@dataclass(frozen=True)
class Stage:
    """One attack on one surface. kind: "gradient", "random", "scores", "transfer", "smooth" or "longer"."""

    name: str
    kind: str
    attack: Attack
    surface: Twin


@dataclass(frozen=True)
class Trial:
    """What a stage did on the sample: the mean accuracy it leaves on its own, and what it takes off the best before it."""

    stage: Stage
    accuracy: float
    gain: float


@dataclass
class Quarry:
    """A model under search, with the images (N, C, H, W) it is searched on. `left` (N,): the chance that each is still
    right under the best attack so far."""

    twin: Twin
    surface: Twin
    undefended: Twin | None
    randomized: bool
    images: Tensor
    labels: Tensor
    ids: tuple
    eps: float
    norm: str
    effort: Effort
    seed: int
    left: Tensor
    trials: list[Trial] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        return float(self.left.mean())

    def judge(self, adversarial: Tensor, purpose: str) -> Tensor:
        """The share of noise draws, never seen by an attack, in which each image is classified right, (N,)."""
        keys = [(self.seed, name, "search", purpose, self.eps) for name in self.ids]
        none = self.labels.new_full(self.labels.shape, -1)
        return score(self.twin, adversarial, self.labels, none, keys, JUDGES if self.randomized else 1).correct.float()

    def rows(self) -> Tensor:
        """The images worth attacking, by position: on a deterministic model those that still stand."""
        return (torch.ones_like(self.left) if self.randomized else self.left).nonzero().flatten()

    def run(self, stage: Stage) -> Trial:
        """Run a stage, keep what it found, and say what it was good for."""
        rows = self.rows()
        if not len(rows):
            return self._note(stage, self.left)
        at = rows.to(self.images.device)
        attack = replace(stage.attack, eps=self.eps)
        moved = self.images.clone()
        moved[at] = attack(stage.surface, self.images[at], self.labels[at], seed=self.seed, ids=[self.ids[i] for i in rows])
        after = torch.where(torch.isin(torch.arange(len(self.left)), rows), self.judge(moved, stage.name), self.left)
        return self._note(stage, after)

    def _note(self, stage: Stage, after: Tensor) -> Trial:
        # A minimum of two noisy estimates would be too low: a randomized model takes the better attack as a whole.
        best = after if self.randomized and after.mean() < self.left.mean() else self.left
        best = best if self.randomized else torch.minimum(self.left, after)
        trial = Trial(stage, float(after.mean()), float(self.left.mean() - best.mean()))
        self.left = best
        self.trials.append(trial)
        return trial


def gradient_stages(quarry: Quarry, classes: int) -> list[Stage]:
    """The attacks that follow the gradient: two losses, since either can be blind."""
    effort, norm = quarry.effort, quarry.norm
    if quarry.randomized:
        noisy = PGD(quarry.eps, steps=min(effort.steps, 40), norm=norm, early_stop=False, eot=effort.eot)
        stages = {loss: replace(noisy, loss=loss) for loss in ("ce", "margin")}
        return [Stage(f"PGD-{loss.upper()}, EOT {effort.eot}", "gradient", a, quarry.surface) for loss, a in stages.items()]
    loss, tried = ("dlr" if classes >= 4 else "margin"), min(9, classes - 1)
    shared = {"eps": quarry.eps, "norm": norm, "steps": effort.steps, "give_up": GIVE_UP}
    return [
        Stage("APGD-CE", "gradient", APGD(**shared), quarry.surface),
        Stage(f"APGD-{loss.upper()}-T", "gradient", APGD(**shared, loss=loss, targets_tried=tried), quarry.surface),
    ]


def other_stages(quarry: Quarry) -> list[Stage]:
    """The attacks that do not follow the model's gradient: random points, transfer, and scores alone."""
    effort, norm = quarry.effort, quarry.norm
    points = RandomPoints(quarry.eps, draws=effort.draws, norm=norm, early_stop=not quarry.randomized)
    stages = [Stage(f"{effort.draws:,} random points", "random", points, quarry.surface)]
    if quarry.undefended is not None:
        attack = PGD(quarry.eps, steps=min(effort.steps, 40), norm=norm, early_stop=False)
        stages.append(Stage("transfer", "transfer", attack, quarry.undefended))
    square = Square(quarry.eps, queries=effort.queries, norm=norm)
    if quarry.randomized:
        square = replace(square.against_noise(effort.eot), queries=max(effort.queries // effort.eot, 1))
    return [*stages, Stage(f"Square-{square.queries}", "scores", square, quarry.surface)]


def decision_stages(quarry: Quarry) -> list[Stage]:
    """The attack that needs labels only, for a black box whose scores say nothing."""
    if quarry.norm != "linf":
        return []
    rays = RayS(quarry.eps, queries=quarry.effort.queries, stop_within=not quarry.randomized)
    return [Stage(f"RayS-{rays.queries}", "scores", rays, quarry.surface)]


def smooth_stages(quarry: Quarry) -> list[Stage]:
    """The gradient averaged over the neighborhood, for surfaces so jagged that a single one leads nowhere."""
    model, stages = quarry.surface.model, []
    for part in SMOOTH:
        surface = Twin(Surface(model, smooth=part * quarry.eps, samples=SMOOTH_SAMPLES))
        attack = PGD(quarry.eps, steps=min(quarry.effort.steps, 40), norm=quarry.norm, loss="margin")
        stages.append(Stage(f"smoothed gradient, {part:g} ε", "smooth", attack, surface))
    return stages


def longer_stages(quarry: Quarry) -> Iterator[Stage]:
    """The best gradient attack so far with twice the steps (and noise draws), again and again; ask for the next one while
    the last one gained."""
    best = min((t for t in quarry.trials if t.stage.kind in ("gradient", "smooth")), key=lambda t: t.accuracy, default=None)
    if best is None:
        return
    attack = best.stage.attack
    for _ in range(quarry.effort.doublings):
        attack = replace(attack, steps=2 * attack.steps, **({"eot": 2 * attack.eot} if quarry.randomized else {}))
        eot = f", EOT {attack.eot}" if quarry.randomized else ""
        yield Stage(f"{attack.name} {attack.steps} steps{eot}", "longer", attack, best.stage.surface)
