"""Every N of prediction averaging from one pass: the measurements behind `tune`.

PPA_N is logsumexp over the first N of the copies x, x + ε_max·u₂, x + ε_max·u₃, … (Donoghue, Lines, Pereira, 2020). So the
network sees the N_max copies of an image once, and every smaller N is a prefix of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from ..data.sampling import random_order
from ..defenses import PredictionAveraging
from ..errors import EscrimeError
from ..models.fast.twin import Twin
from ..models.running import Batches, check_logits, existing_device, full_precision, network_batch, no_trace
from ..randomness import as_keys, derive, row_keys
from ..results.choosing import UNDEFENDED, Point
from ..results.threats import ADAPTIVE, DEFENDED, TRANSFER
from ..validation import check_choice, check_whole
from .images import PART, Images, Source
from .profile import ProbeBudget, Profile, Profiles
from .scoring import check_finite

FEWEST = 20  # images in all: half of them choose
AGAINST = DEFENDED[::-1]
MEASURED = ("image", "label", "eps_max", "samples", "condition", "correct", "forwards", "backwards")


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


def halves(data: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """The images to choose on and those to validate on: disjoint, drawn by id from `seed`, each class split in equal parts."""
    if not isinstance(data, ImageSet):
        raise EscrimeError(f"data is a {type(data).__name__}; give an ImageSet, such as escrime.data.load(...).test.")
    if len(data) < FEWEST:
        raise EscrimeError(f"{len(data)} images are too few to choose on one half and validate on the other; give {FEWEST}.")
    order = np.lexsort((random_order(seed, data.ids), data.labels))
    return data.select(np.sort(order[::2])), data.select(np.sort(order[1::2]))


def tuning_parts(
    model: nn.Module,
    data: ImageSet,
    grid: Grid,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    finished: Callable[[int], bool] = lambda index: False,
    step: Callable[[str], None] = lambda note: None,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield (index, records) for every slice of the images that is not `finished`; `step` is called after each ε_max.

    Columns: MEASURED; forwards and backwards are those of all N of one ε_max, noted in the row of the largest.
    """
    if not isinstance(model, nn.Module):
        raise EscrimeError(f"the model is a {type(model).__name__}, which has no gradients to attack; give a torch.nn.Module.")
    device = existing_device(device if device is not None else next((p.device for p in model.parameters()), "cpu"))
    model = model.to(device)
    source = Source(data, device)
    profiles = Profiles(source, ProbeBudget(float(grid.eps)), seed)
    profile: Profile | None = None
    for index, images in enumerate(source()):
        if finished(index):
            continue
        profile = profile or _profiled(profiles, model)
        yield index, _measure(model, profile, images, grid, seed, step)


def slices_in(data: ImageSet) -> int:
    """How many parts `tuning_parts` makes."""
    return ceil(len(data) / PART)


def _profiled(profiles: Profiles, model: nn.Module) -> Profile:
    profile = profiles[model]
    if profile.randomized:
        raise EscrimeError(
            "the model answers differently each time it is asked, so its own noise would be taken for that of the average; "
            "give the network inside it."
        )
    return profile


def _measure(
    model: nn.Module, profile: Profile, images: Images, grid: Grid, seed: int, step: Callable[[str], None]
) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []

    def note(
        condition: str, point: Point, correct: Tensor, forwards: float | np.ndarray = 0.0, backwards: float | np.ndarray = 0.0
    ) -> None:
        own = {"eps_max": point[0], "samples": point[1], "condition": condition, "correct": correct.double().numpy()}
        passes = {"forwards": np.broadcast_to(forwards, len(names)), "backwards": np.broadcast_to(backwards, len(names))}
        rows.append(pd.DataFrame({"image": names, "label": images.labels.cpu().numpy(), **own, **passes}))

    names = [str(name) for name in images.ids]
    plain = _craft(grid.attack, profile.surrogate, images, float(grid.eps), seed)
    for radius in map(float, grid.eps_max):
        defended = PredictionAveraging(model, radius, grid.most)
        if profile.settings:  # the network hides its gradients; so does its average
            climbed = Twin(Surrogate(defended, **profile.settings))
        else:
            climbed = Twin(defended, PredictionAveraging(cast(nn.Module, profile.twin.copy), radius, grid.most))
        knowing = _craft(grid.attack.against_noise(grid.eot), climbed, images, float(grid.eps), seed)
        shown = {"clean": images.pixels, TRANSFER: plain.adversarial, ADAPTIVE: knowing.adversarial}
        for condition, pixels in shown.items():
            keys = [(seed, name, "tune", condition) for name in images.ids]
            scores = prefix_scores(model, radius, (1, *grid.samples), pixels, images.labels, keys, grid.draws)
            if radius == grid.eps_max[0] and condition != ADAPTIVE:  # the first copy alone is the undefended network
                spent = plain if condition == TRANSFER else None
                note(condition, UNDEFENDED, scores[0], *(() if spent is None else _passes(spent)))
                if condition == TRANSFER:  # who attacks an undefended network knows it
                    note(ADAPTIVE, UNDEFENDED, scores[0])
            for n, correct in zip(grid.samples[:-1], scores[1:-1], strict=True):
                note(condition, (radius, n), correct)
            forwards, backwards = _passes(knowing) if condition == ADAPTIVE else (0.0, 0.0)
            note(condition, (radius, grid.most), scores[-1], forwards + grid.draws * grid.most, backwards)
        step(f"ε_max = {radius:g}")
    return pd.concat(rows, ignore_index=True)


def _passes(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    return outcome.forwards.double().cpu().numpy(), outcome.backwards.double().cpu().numpy()


def _craft(attack: Attack, attacked: Twin, images: Images, eps: float, seed: int) -> Outcome:
    """The attack's outcome; an example that breaks its budget is replaced by the image."""
    (outcome,) = attack.sweep(attacked, images.pixels, images.labels, [eps], seed=seed, ids=images.ids)
    verified = attack.geometry.inside(outcome.adversarial, images.pixels, eps)
    kept = torch.where(verified[:, None, None, None], outcome.adversarial, images.pixels)
    return Outcome(kept, outcome.forwards, outcome.backwards)


@torch.no_grad()
def prefix_scores(
    model: nn.Module, eps_max: float, samples: Sequence[int], images: Tensor, labels: Tensor, keys: list[tuple], draws: int
) -> Tensor:
    """The share of `draws` fresh noise draws in which PPA_N is right, (len(samples), N_images), for all N of `samples` from
    the forwards of the largest.

    images (N_images, C, H, W); keys: one tuple per image, (seed, id, ...), from which its noise is drawn as `score` would for
    the module PredictionAveraging(model, eps_max, N). The original float32 model is asked, never a copy.
    """
    averaging, hashed = PredictionAveraging(model, eps_max, max(samples)), as_keys(keys)

    def part(rows: slice) -> Tensor:
        right = torch.zeros(len(samples), len(images[rows]))
        for draw in range(draws):
            with row_keys(derive(hashed[rows], draw)):
                copies = averaging.noisy_copies(images[rows])
            flat = copies.flatten(0, 1)
            with full_precision(images.device):
                logits = check_logits(model(flat.clone()), flat)  # a model may write into what it is given
            check_finite(logits, keys[rows] * len(copies))
            logits = logits.unflatten(0, (len(copies), -1))
            for at, n in enumerate(samples):
                right[at] += (logits[:n].logsumexp(dim=0).argmax(1) == labels[rows]).cpu()
        return right / draws

    with no_trace(model, images.device):
        return torch.cat(Batches(network_batch(images) // max(samples)).map(part, len(images)), dim=1)
