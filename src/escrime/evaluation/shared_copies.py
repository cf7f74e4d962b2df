"""Every N of prediction averaging from one pass: the measurements behind `tune`.

PPA_N is logsumexp over the first N of the copies x, x + ε_max·u₂, x + ε_max·u₃, … (Donoghue, Lines, Pereira, 2020). So the
network sees the N_max copies of an image once, and every smaller N is a prefix of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from numbers import Number
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..attacks.adaptive.surrogate import Surrogate
from ..attacks.core.base import Attack, Outcome
from ..attacks.pgd import PGD
from ..budgets import epsilon
from ..data import ImageSet
from ..data.given import as_image_set
from ..data.sampling import random_order
from ..defenses import PredictionAveraging
from ..errors import EscrimeError
from ..models.fast.twin import Twin
from ..models.running import existing_device
from ..results.choosing import UNDEFENDED, Point
from ..results.keys import joined, part_key
from ..results.records import frame
from ..results.rows import TUNED
from ..results.threats import ADAPTIVE, DEFENDED, TRANSFER
from ..validation import check_choice, check_whole
from .crafting import crafted
from .images import PART, Images, Source
from .parts import within_budget
from .profile import ProbeBudget, Profile, Profiles
from .scoring import score_prefixes

FEWEST = 20  # images in all: half of them choose
AGAINST = DEFENDED[::-1]


def _several(values: Any) -> tuple:
    """One value counts as a list of it."""
    return (values,) if isinstance(values, Number | str) else tuple(values)


@dataclass(frozen=True)
class Grid:
    """What is tried, and how it is attacked. eps: the attacker's budget. eps_max, samples: the values of ε_max and of N.
    against: the attack that counts. steps: of PGD. draws: noise draws behind each score. eot: noise draws of the whole
    average behind each gradient, so N_max·eot noisy copies."""

    eps: float | str
    eps_max: Sequence[float | str] = (0.01, 0.03, 0.1, 0.3)
    samples: Sequence[int] = (2, 4, 8, 16)
    against: str = ADAPTIVE
    steps: int = 20
    draws: int = 4
    eot: int = 2

    def __post_init__(self) -> None:
        keep = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        keep("eps", epsilon(self.eps))
        keep("eps_max", tuple(sorted({epsilon(radius) for radius in _several(self.eps_max)})))
        copies = {check_whole("samples", n, of="copies", hint="such as 2,4,8,16") for n in _several(self.samples)}
        # One copy is the undefended network, which is always measured.
        keep("samples", tuple(sorted(copies - {1})))
        if not self.samples:
            raise EscrimeError("samples names no N above 1, and PPA of one copy is the undefended network; give 2,4,8,16.")
        if not float(self.eps) > 0:
            raise EscrimeError("eps = 0 is no attack to tune against; give an ε above 0, such as 8/255.")
        if not self.eps_max or float(self.eps_max[0]) <= 0:
            raise EscrimeError(
                f"eps_max = {list(self.eps_max)}: noise of radius 0 changes nothing; give values above 0, such as 0.03,0.1."
            )
        check_choice("against", self.against, AGAINST)
        for name in ("draws", "eot"):
            keep(name, check_whole(name, getattr(self, name), of="noise draws"))
        self.attack  # noqa: B018  refuses its settings

    @property
    def attack(self) -> PGD:
        """Every step is spent: an example that stops at the undefended network's boundary would transfer to nothing."""
        return PGD(self.eps, steps=self.steps, early_stop=False)

    @property
    def most(self) -> int:
        """N_max."""
        return self.samples[-1]

    @property
    def sharing(self) -> float:
        """How many times the passes would be needed if every N had its own."""
        return sum(self.samples) / self.most


def halves(data: Any, seed: int) -> tuple[ImageSet, ImageSet]:
    """The images to choose on and those to validate on: disjoint, drawn by id from `seed`, each class split in equal parts."""
    data = as_image_set(data)
    if len(data) < FEWEST:
        raise EscrimeError(f"{len(data)} images are too few to choose on one half and validate on the other; give {FEWEST}.")
    order = np.lexsort((random_order(seed, data.ids), data.labels))
    return data.select(np.sort(order[::2])), data.select(np.sort(order[1::2]))


@dataclass(frozen=True)
class SharedPart:
    """One unit of work: all N of one ε_max on a slice of the images, under all three conditions."""

    eps_max: float
    index: int

    @property
    def key(self) -> str:
        return part_key(joined((PredictionAveraging.defense, str(self.eps_max))), self.index)


def parts_in(data: ImageSet, grid: Grid) -> list[SharedPart]:
    """All that `tuning_parts` makes, in order."""
    return [part for index in range(ceil(len(data) / PART)) for part in _parts_of(index, grid)]


def _parts_of(index: int, grid: Grid) -> list[SharedPart]:
    return [SharedPart(float(radius), index) for radius in grid.eps_max]


def tuning_parts(
    model: nn.Module,
    data: ImageSet,
    grid: Grid,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    finished: Callable[[str], bool] = lambda key: False,
) -> Iterator[tuple[SharedPart, pd.DataFrame]]:
    """Yield (part, records) for every part whose key is not `finished`, as `evaluate_parts` does.

    Columns: results.rows.TUNED; forwards and backwards are those of all N of one ε_max, noted in the row of the largest. The
    undefended network stands among the rows of the smallest ε_max.
    """
    if not isinstance(model, nn.Module):
        raise EscrimeError(f"the model is a {type(model).__name__}, which has no gradients to attack; give a torch.nn.Module.")
    device = existing_device(device if device is not None else next((p.device for p in model.parameters()), "cpu"))
    model = model.to(device)
    source = Source(data, device)
    profiles = Profiles(source, ProbeBudget(float(grid.eps)), seed)
    profile: Profile | None = None
    for index, images in enumerate(source()):
        todo = [part for part in _parts_of(index, grid) if not finished(part.key)]
        if not todo:
            continue
        profile = profile or _profiled(profiles, model)
        plain = _crafted(grid.attack, profile, model, images, grid, seed)
        for part in todo:
            yield part, _measure(part.eps_max, model, profile, images, plain, grid, seed)


def _profiled(profiles: Profiles, model: nn.Module) -> Profile:
    profile = profiles[model]
    if profile.randomized:
        raise EscrimeError(
            "the model answers differently each time it is asked, so its own noise would be taken for that of the average; "
            "give the network inside it."
        )
    return profile


def _measure(
    radius: float, model: nn.Module, profile: Profile, images: Images, plain: Outcome, grid: Grid, seed: int
) -> pd.DataFrame:
    """The records of one part; plain: the attack on the undefended network, of the whole slice."""
    blocks: list[dict[str, Any]] = []
    about = {"image": [str(name) for name in images.ids], "label": images.labels.cpu().numpy()}

    def note(condition: str, point: Point, correct: Tensor, forwards: Any = 0.0, backwards: Any = 0.0) -> None:
        own = {"eps_max": point[0], "samples": point[1], "condition": condition, "correct": correct.double().numpy()}
        blocks.append(about | own | {"forwards": forwards, "backwards": backwards})

    averaging = PredictionAveraging(model, radius, grid.most)
    knowing = _crafted(grid.attack, _averaged(profile, model, averaging), averaging, images, grid, seed)
    shown = {"clean": images.pixels, TRANSFER: plain.adversarial, ADAPTIVE: knowing.adversarial}
    for condition, pixels in shown.items():
        keys = [(seed, name, "tune", condition) for name in images.ids]
        scores = score_prefixes(averaging, (1, *grid.samples), pixels, images.labels, keys, grid.draws)
        if radius == grid.eps_max[0] and condition != ADAPTIVE:  # the first copy alone is the undefended network
            note(condition, UNDEFENDED, scores[0], *(_passes(plain) if condition == TRANSFER else ()))
            if condition == TRANSFER:  # who attacks an undefended network knows it
                note(ADAPTIVE, UNDEFENDED, scores[0])
        for n, correct in zip(grid.samples[:-1], scores[1:-1], strict=True):
            note(condition, (radius, n), correct)
        forwards, backwards = _passes(knowing) if condition == ADAPTIVE else (0.0, 0.0)
        note(condition, (radius, grid.most), scores[-1], forwards + grid.draws * grid.most, backwards)
    return frame(*blocks, kinds=TUNED)


def _averaged(profile: Profile, model: nn.Module, averaging: PredictionAveraging) -> Profile:
    """The profile of the average over copies, from that of the network in it: a network that hides its gradients hides those
    of its average."""
    if profile.settings:
        climbed = Twin(Surrogate(averaging, **profile.settings))
    else:
        copy = PredictionAveraging(cast(nn.Module, profile.twin.copy), averaging.eps_max, averaging.samples)
        climbed = Twin(averaging, copy)
    return replace(profile, randomized=True, surrogate=climbed)


def _passes(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    return outcome.forwards.double().cpu().numpy(), outcome.backwards.double().cpu().numpy()


def _crafted(attack: Attack, profile: Profile, attacked: nn.Module, images: Images, grid: Grid, seed: int) -> Outcome:
    """What the attack made on `attacked`; an example that breaks its budget is replaced by the image.

    Errors: EscrimeError where it raised: an image that was never attacked would count as robust.
    """
    eps = float(grid.eps)
    outcomes, reason = crafted(attack, profile, attacked, images, [eps], seed, grid.eot)
    if outcomes is None:
        raise EscrimeError(
            f"PGD fails on the model ({reason}), and without it there is nothing to choose by; mend the model, or leave out "
            f"the images it fails on, which are among the {len(images.ids)} from {images.ids[0]!r} on."
        )
    return replace(outcomes[0], adversarial=within_budget(outcomes[0], images, eps, attack.geometry)[1])
