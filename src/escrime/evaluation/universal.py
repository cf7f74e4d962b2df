"""Universal attacks in an evaluation: each half of the images is attacked by what was fitted on the other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..attacks.core.base import Attack, Outcome
from ..attacks.core.fitted import Fitted
from ..attacks.core.inputs import Inputs
from ..attacks.core.universal import Universal
from ..data.sampling import random_order
from ..errors import EscrimeError
from ..models.fast.twin import Twin
from ..randomness import key
from .images import Source
from .profile import Profile

HALVES = (0, 1)


@dataclass(frozen=True)
class Perturbations:
    """What was fitted, by (half it was fitted on, ε), and the passes that each half took. digest: of all that it rests on."""

    made: Mapping[tuple[int, float], Tensor]
    forwards: tuple[float, float]
    backwards: tuple[float, float]
    digest: str


class Shelf(Protocol):
    """Where perturbations are kept, so that an evaluation that goes on need not fit them again."""

    def perturbations(self, name: str) -> Perturbations | None:
        """What is kept under the name of an attack on a case."""

    def keep_perturbations(self, name: str, found: Perturbations, pictures: dict[tuple[int, float], Tensor]) -> None:
        """Keep it. pictures: what to show of each, (C, H, W) in [0, 1]."""


@dataclass(frozen=True, eq=False, repr=False)
class CrossFitted(Attack):
    """Both perturbations as one attack on all images, of which each is attacked by the one that was not fitted on its half.

    fitted: by the half it was fitted on. half: id → the half that an image is in. judged: how many images each judges.
    """

    fitted: tuple[Fitted, Fitted]
    half: Mapping[object, int]
    judged: tuple[int, int]

    access = "labels"
    steps = 0

    def __post_init__(self) -> None:
        """Its settings are those of an attack, which has checked them."""

    eps = property(lambda self: self.fitted[0].eps)
    norm = property(lambda self: self.fitted[0].norm)
    target = property(lambda self: self.fitted[0].target)
    manner = property(lambda self: self.fitted[0].manner)

    @property
    def name(self) -> str:
        return self.fitted[0].name

    def against_noise(self, eot: int) -> Attack:
        """The same: it does not look at the model."""
        return self

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        own = torch.tensor([self.half[name] for name in inputs.ids])
        outcomes = []
        for eps, here in zip(budgets, wanted, strict=True):
            moved = inputs.images.clone()
            forwards, backwards = torch.zeros(len(own)), torch.zeros(len(own))
            for half, fitted in zip(HALVES, self.fitted, strict=True):
                rows = ((own != half) & here).nonzero().flatten()
                at = rows.to(moved.device)
                moved[at] = fitted.applied(inputs.only(at), eps[rows])
                # What fitting took, shared among the images that are judged by it, and the ε.
                shares = self.judged[half] * len(fitted.made)
                forwards[rows], backwards[rows] = fitted.forwards / shares, fitted.backwards / shares
            outcomes.append(Outcome(moved, forwards, backwards))
        return outcomes


class Fits:
    """The universal attacks of one evaluation, each fitted when it is first asked for, on as many images as it wants.

    Each class has its share in both halves. Which images those are hangs on the seed and on all images of the evaluation, not
    on the parts that it is made in; what is on the `shelf` already is taken from there. Two copies of an image under two ids
    are two images here: a finding of the checks tells of such.
    """

    def __init__(self, source: Source, seed: int, eot: int, shelf: Shelf) -> None:
        self.source, self.seed, self.eot, self.shelf = source, seed, eot, shelf
        self.known: dict[str, Attack] = {}

    def ready(self, attack: Universal, profile: Profile, grid: list[float], name: str) -> Attack:
        """The attack, fitted at every ε of `grid` above 0 on what is attacked, whose `profile` it is. name: that it is kept
        under, of an attack on a case."""
        if name not in self.known:
            own = attack.against_noise(self.eot) if profile.randomized else attack
            above = [eps for eps in grid if eps > 0]
            self.known[name] = self._crossed(own, profile.surrogate, above, name)  # type: ignore[arg-type]
        return self.known[name]

    def _crossed(self, attack: Universal, twin: Twin, epsilons: list[float], name: str) -> CrossFitted:
        rows, ids = self._halves(), self.source.names
        digest = sha256(repr((attack, epsilons, self.seed, [[ids[row] for row in half] for half in rows])).encode())
        digest.update(b"" if self.source.mask is None else np.asarray(self.source.mask, dtype=bool).tobytes())
        found = self.shelf.perturbations(name)
        kept = {(half, eps) for half in HALVES for eps in epsilons}
        if found is None or found.digest != digest.hexdigest() or set(found.made) != kept:
            fitted = [self._fitted(attack, twin, half, epsilons) for half in rows]
            made = {(half, eps): fitted[half].made[eps].cpu() for half, eps in sorted(kept)}
            (first, second), about = fitted, digest.hexdigest()
            passes = (first.forwards, second.forwards), (first.backwards, second.backwards)
            found = Perturbations(made, *passes, about)
            self.shelf.keep_perturbations(name, found, {which: attack.picture(one) for which, one in made.items()})
        both = [
            Fitted(attack, {eps: found.made[half, eps] for eps in epsilons}, frozenset(), forwards, backwards)
            for half, forwards, backwards in zip(HALVES, found.forwards, found.backwards, strict=True)
        ]
        half_of = {ids[row]: half for half, some in zip(HALVES, rows, strict=True) for row in some}
        return CrossFitted((both[0], both[1]), half_of, (len(rows[1]), len(rows[0])))

    def _halves(self) -> tuple[list[int], list[int]]:
        """The positions of the images in each half."""
        count, ids, labels = len(self.source), [str(name) for name in self.source.names], self.source.labels
        if count < 2:
            raise EscrimeError(
                "one image alone cannot be judged by a universal attack, which is fitted on others; give at least two, better "
                "hundreds."
            )
        order = np.lexsort((random_order(key(self.seed, "halves"), ids), labels))  # class by class, so that each has its share
        return sorted(order[::2].tolist()), sorted(order[1::2].tolist())

    def _fitted(self, attack: Universal, twin: Twin, half: list[int], epsilons: list[float]) -> Fitted:
        ids, labels = self.source.names, self.source.labels
        known = [row for row in half if attack.target is None or labels[row] != attack.target]
        lots = random_order(key(self.seed, "fit"), [str(ids[row]) for row in known])
        images = self.source.rows([known[at] for at in sorted(lots.argsort()[: attack.fit_images].tolist())])
        settings = replace(attack, eps=max(epsilons))  # type: ignore[type-var]
        fitted: Fitted = settings.fit(
            twin, images.pixels, images.labels, epsilons=epsilons, seed=self.seed, ids=images.ids, mask=images.mask
        )
        return fitted
