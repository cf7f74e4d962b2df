"""models × attacks × ε → records, in parts that can be saved and never need to be computed twice."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..attacks.core.base import Attack, Outcome
from ..attacks.core.masks import confined
from ..attacks.transfer import Transfer, for_transfer
from ..checks import check_images, no_targets
from ..errors import or_reason
from ..models.fast.twin import Twin
from ..no_class import NO_TARGET
from ..norms import Norm
from ..results.keys import joined, part_key
from ..results.records import frame, unattacked
from ..results.threats import DEPLOYED, TRANSFER
from .chunks import Begun, Chunks, Done, no_progress, nothing_done
from .crafting import crafted, misled, on_all, targets_of, untouched
from .images import Images
from .profile import Profile, Profiles
from .requests import norm_of
from .scoring import Predicted, as_they_are, score
from .subjects import AnyAttack, Case, cases_of
from .universal import Fits


@dataclass(frozen=True)
class Part:
    """One unit of work: a case, an attack (by its label) and a slice of the images; `start` where it holds some of the
    slice's images only, those from this one on (see `chunks`)."""

    case: Case
    attack: str
    index: int
    start: int | None = None

    @property
    def name(self) -> str:
        """What it is a part of."""
        return joined([*self.case.name, self.attack])

    @property
    def key(self) -> str:
        return part_key(self.name, self.index, self.start)


def evaluate_parts(
    cases: list[Case],
    slices: Callable[[], Iterator[Images]],
    profiles: Profiles,
    attacks: dict[str, Attack],
    epsilons: dict[str, list[float]],
    *,
    seed: int,
    draws: int,
    eot: int,
    finished: Callable[[str], bool],
    done: Done = nothing_done,
    begun: Begun = no_progress,
    samples: dict[tuple[str, str, str], frozenset] | None = None,
    failed: Callable[[Part, str], None] = lambda part, reason: None,
    fits: Fits,
) -> Iterator[tuple[Part, pd.DataFrame]]:
    """Yield (part, records) for every part that is not `finished`, of those of its images that are not `done`. `profiles`: to
    the models, over the same slices. Under a deadline parts are divided (see `chunks`), all attacks go over one chunk before
    the next begins, and OutOfTime is raised when the time is up.

    Adversarial images are crafted once per attacked network and scored on every case that shares it; those of a transfer
    attack apart, where it would not spend all its steps otherwise (see `for_transfer`). Those of a Transfer, made on
    surrogates, are scored under transfer alone (see `cases_of`); a deployed model is shown those of the model. `draws`: fresh
    noise draws behind each verdict on a randomized model; `eot`: draws in each gradient of an adaptive attack on one.
    An attack that raises on a part leaves its images as they are, with rows that show it (`unattacked`), and `failed` is called
    with the reason; only an EscrimeError, which is about bad input, stops everything.
    `samples` maps (defense, threat, attack label) to the ids of the images to use where all of them would cost too much.
    `fits`: the perturbations of universal attacks, over the same images.
    """
    chunks, models = Chunks(), _Scored(profiles, seed, draws)
    for index, whole in enumerate(slices()):
        check_images(whole.pixels)
        for everything in chunks.of(whole):
            models.clean.clear()
            for label, asked_for in attacks.items():
                for (_, sample, transfers), group in _sharing(cases, label, asked_for, samples or {}).items():
                    attack = for_transfer(asked_for) if transfers else asked_for
                    names = whole.ids if sample is None else tuple(name for name in whole.ids if name in sample)
                    images = everything if sample is None else everything.only(sample)
                    for parts, rest in unfinished([Part(case, label, index) for case in group], names, images, finished, done):
                        chunks.worked = True
                        for part in parts:
                            begun(work_on(label, part.case), len(rest.ids))
                        attacked, grid = profiles[group[0].attacked], epsilons[label]
                        # Examples made to fool another network spend all their steps: not on what it gets wrong as it is.
                        open_ones = models.unsettled(group, rest) if transfers and misled(attack) else rest
                        made: tuple[list[Outcome] | None, str] = [untouched(open_ones)] * len(grid), ""
                        if open_ones.ids:
                            fit = partial(fits.ready, profile=attacked, grid=grid, name=Part(group[0], label, 0).name)
                            made = crafted(attack, attacked, group[0].attacked, open_ones, grid, seed, eot, fit)
                        made = on_all(made, open_ones, rest)
                        for part in parts:
                            table, reason = models.records(part, attack, rest, made, grid)
                            if reason:
                                failed(part, reason)
                            yield part, table


def work_on(label: str, case: Case) -> str:
    """What an attack on a case is called while it goes on: what it costs differs between threat levels."""
    return label if case.subject.defense == "none" and case.threat != DEPLOYED else f"{label}, {case.threat}"


class _Scored:
    """What the models predict for what attacks made of one chunk of the images; for the clean images they are asked once."""

    def __init__(self, profiles: Profiles, seed: int, draws: int) -> None:
        self.profiles, self.seed, self.draws = profiles, seed, draws
        self.clean: dict[tuple, Predicted] = {}

    def records(
        self, part: Part, attack: AnyAttack, images: Images, crafted: tuple, grid: list[float]
    ) -> tuple[pd.DataFrame, str]:
        """(the records of a part, why it could not be attacked or scored, "" where it could)."""
        profile, (outcomes, reason) = self.profiles[part.case.subject.classifier], crafted
        draws = self.draws if profile.randomized else 1
        clean = self._as_they_are(profile, images)
        about, rest = (part, profile.twin, attack, images, targets_of(attack, images)), (grid, clean, self.seed, draws)
        found = None
        if outcomes is not None:
            found, reason = or_reason(lambda: records_of(*about, outcomes, *rest, profile.randomized))
        if found is None:
            with as_they_are():
                found = unattacked(records_of(*about, [untouched(images)] * len(grid), *rest, profile.randomized))
        return found, reason

    def unsettled(self, cases: list[Case], images: Images) -> Images:
        """The images that one of the models scored may get right as they are: what is wrong already is fooled at every ε. A few
        draws do not show that of a randomized model."""
        profiles = [self.profiles[case.subject.classifier] for case in cases]
        if any(profile.randomized for profile in profiles):
            return images
        right = torch.stack([self._as_they_are(profile, images).correct > 0.5 for profile in profiles]).any(0)
        return images.only(frozenset(name for name, still in zip(images.ids, right.tolist()) if still))

    def _as_they_are(self, profile: Profile, images: Images) -> Predicted:
        """What a model predicts for the clean images, asked once."""
        draws, known = self.draws if profile.randomized else 1, (id(profile.twin), images.ids)
        if known not in self.clean:
            keys, none = [(self.seed, i, "clean") for i in images.ids], no_targets(images.labels)
            with as_they_are():
                self.clean[known] = score(profile.twin, images.pixels, images.labels, none, keys, draws)
        return self.clean[known]


def unfinished(
    parts: list[Part], whole: tuple, images: Images, finished: Callable[[str], bool], done: Done
) -> Iterator[tuple[list[Part], Images]]:
    """(parts, the images that are open in all of them), of a chunk `images` of the slice that holds the ids `whole`."""
    left: dict[frozenset, list[Part]] = {}
    for part in parts:
        if not finished(part.key):
            known = done(part.key)
            left.setdefault(frozenset(name for name in images.ids if str(name) not in known), []).append(part)
    for names, some in left.items():
        if names:
            rest = images if len(names) == len(images.ids) else images.only(names)
            start = None if len(names) == len(whole) else whole.index(rest.ids[0])
            yield [replace(part, start=start) for part in some], rest


def _sharing(cases: list[Case], label: str, attack: AnyAttack, samples: dict) -> dict[tuple, list[Case]]:
    """Cases that share adversarial images, by the attacked network, the sample of images, and whether it is `for_transfer`."""
    groups: dict[tuple, list[Case]] = {}
    surrogates, changes = isinstance(attack, Transfer), for_transfer(attack) is not attack
    for case in cases_of(attack, cases):
        sample = samples.get((case.subject.defense, case.threat, label))
        network = None if surrogates else id(case.attacked)
        groups.setdefault((network, sample, surrogates or (changes and case.threat == TRANSFER)), []).append(case)
    return groups


def within_budget(outcome: Outcome, images: Images, eps: float, geometry: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """(which adversarial images keep to ε and to the mask, (N,) bool; all of them, (N, C, H, W); how far each is from its
    image, (N,)). What breaks its budget is not counted: the image stands as it was."""
    verified, far = geometry.keeps(outcome.adversarial, images.pixels, eps, outcome.parameters)
    verified &= (outcome.adversarial == confined(outcome.adversarial, images.pixels, images.mask)).flatten(1).all(1)
    return verified, torch.where(verified[:, None, None, None], outcome.adversarial, images.pixels), far.where(verified, 0)


def records_of(
    part: Part,
    model: Twin,
    attack: AnyAttack,
    images: Images,
    targets: Tensor,
    outcomes: list[Outcome],
    epsilons: Sequence[float],
    clean: Predicted,
    seed: int,
    draws: int,
    randomized: bool,
) -> pd.DataFrame:
    """Verify and score the outcomes of one part."""
    geometry = norm_of(attack)
    blocks: list[dict[str, Any]] = []
    for eps, outcome in zip(epsilons, outcomes, strict=True):
        verified, adversarial, far = within_budget(outcome, images, eps, geometry)
        keys = [verdict_key(seed, i) for i in images.ids]
        verdict = score(model, adversarial, images.labels, targets, keys, draws)
        preliminary = verdict.correct
        if randomized:  # what chooses between attacks must not be what is reported of the one chosen
            preliminary = score(
                model, adversarial, images.labels, targets, [(*key, "preliminary") for key in keys], draws
            ).correct
        wanted = targets.cpu() != NO_TARGET
        fooled = torch.where(wanted, verdict.prediction == targets.cpu(), verdict.prediction != images.labels.cpu())
        survives = torch.zeros(len(fooled), dtype=torch.bool)
        rows = (fooled & (eps > 0)).nonzero().flatten()
        if len(rows):
            rounded = geometry.to_8_bits(adversarial[rows], images.pixels[rows], eps)
            again = score(model, rounded, images.labels[rows], targets[rows], [keys[i] for i in rows.tolist()], 1)
            goal = targets[rows].cpu()
            still = torch.where(goal != NO_TARGET, again.prediction == goal, again.prediction != images.labels[rows].cpu())
            survives[rows] = still | (rounded == adversarial[rows]).flatten(1).all(1).cpu()  # which other noise says nothing of
        blocks.append(
            {
                "model": part.case.subject.model,
                "defense": part.case.subject.defense,
                "threat": part.case.threat,
                "attack": part.attack,
                "norm": geometry.name,
                "eps": eps,
                "image": [str(i) for i in images.ids],
                "subsets": list(images.subsets),
                "label": images.labels.cpu().numpy(),
                "target": targets.cpu().numpy(),
                "clean_prediction": clean.prediction.numpy(),
                "clean_confidence": clean.confidence.double().numpy(),
                "prediction": verdict.prediction.numpy(),
                "confidence": verdict.confidence.double().numpy(),
                "correct": verdict.correct.double().numpy(),
                "preliminary": preliminary.double().numpy(),
                "hit": verdict.hit.double().numpy(),
                "draws": draws,
                "distance": far.cpu().numpy(),
                "forwards": outcome.forwards.double().numpy(),
                "backwards": outcome.backwards.double().numpy(),
                "verified": verified.cpu().numpy(),
                "survives_8bit": survives.numpy(),
                "seed": seed,
            }
        )
    return frame(*blocks)


def verdict_key(seed: int, image: Hashable) -> tuple:
    """The key of the noise by which an image is judged: the same for every model, attack and ε, so that what is compared
    differs by what was done to the image and not by the luck of its draws."""
    return seed, image, "verdict"
