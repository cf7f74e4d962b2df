"""models × attacks × ε → records, in parts that can be saved and never need to be computed twice."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor

from ..attacks.core.base import Attack, Outcome
from ..attacks.core.minimum_norm import MinimumNorm
from ..attacks.worst_case import WorstCase
from ..checks import check_images, no_targets
from ..errors import EscrimeError, in_one_line, is_bad_input
from ..models.deadline import look, time_left
from ..models.fast.twin import Twin
from ..models.running import Classifier, no_trace
from ..no_class import NO_TARGET
from ..norms import Norm
from ..randomness import key, seed_all_generators
from ..results.keys import joined, part_key
from ..results.records import frame, unattacked
from ..results.threats import TRANSFER
from .chunks import Begun, Chunks, Done, no_progress, nothing_done
from .images import Images
from .profile import Profile, Profiles
from .quantized import on_the_grid
from .requests import norm_of
from .scoring import Predicted, score
from .subjects import AnyAttack, Case

Value = TypeVar("Value")
ROUNDING = 1e-6  # a few units in the last place of a float32 color value


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
) -> Iterator[tuple[Part, pd.DataFrame]]:
    """Yield (part, records) for every part that is not `finished`, of those of its images that are not `done`. `profiles`: to
    the models, over the same slices. Under a deadline parts are divided (see `chunks`), all attacks go over one chunk before
    the next begins, and OutOfTime is raised when the time is up.

    Adversarial images are crafted once per attacked network and scored on every case that shares it; those of a transfer
    attack apart, where it would not spend all its steps otherwise (see `for_transfer`). `draws`: fresh noise draws behind each
    verdict on a randomized model; `eot`: draws in each gradient of an adaptive attack on one.
    An attack that raises on a part leaves its images as they are, with rows that show it (`unattacked`), and `failed` is called
    with the reason; only an EscrimeError, which is about bad input, stops everything.
    `samples` maps (defense, threat, attack label) to the ids of the images to use where all of them would cost too much.
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
                        begun(label, len(rest.ids) * len(parts))
                        attacked, grid = profiles[group[0].attacked], epsilons[label]
                        made = crafted(attack, attacked, group[0].attacked, rest, grid, seed, eot)
                        for part in parts:
                            table, reason = models.records(part, attack, rest, made, grid)
                            if reason:
                                failed(part, reason)
                            yield part, table


def crafted(
    attack: AnyAttack, profile: Profile, model: Classifier, images: Images, grid: list[float], seed: int, eot: int
) -> tuple[list[Outcome] | None, str]:
    """(the outcomes at every ε, ""), or (None, why the attack raised on `model`, whose `profile` it is). A model
    that ignores its input predicts the same whatever is done to it, so nothing is: every image stays, for no passes."""
    if profile.around.ignores:
        return [_untouched(images)] * len(grid), ""
    targets, ours = _targets(attack, images), isinstance(attack, Attack)
    # Our own attacks follow the faster copy's gradient; a user's attack gets the model it was promised.
    climbed: Any = profile.surrogate if ours else profile.asked or model
    noise = eot if profile.randomized else None
    outcomes, reason = _or_reason(lambda: craft(attack, climbed, images, targets, grid, seed, noise))
    if outcomes is not None and ours and profile.settings.get("grid"):
        geometry = norm_of(attack)  # the model treats 8-bit images otherwise, and was asked about those
        outcomes = [
            replace(found, adversarial=on_the_grid(found.adversarial, images.pixels, eps, geometry))
            for found, eps in zip(outcomes, grid, strict=True)
        ]
    return outcomes, reason


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
        if (id(profile.twin), images.ids) not in self.clean:
            keys, none = [(self.seed, i, "clean") for i in images.ids], no_targets(images.labels)
            self.clean[id(profile.twin), images.ids] = score(profile.twin, images.pixels, images.labels, none, keys, draws)
        clean = self.clean[id(profile.twin), images.ids]
        about, rest = (part, profile.twin, attack, images, _targets(attack, images)), (grid, clean, self.seed, draws)
        found = None
        if outcomes is not None:
            found, reason = _or_reason(lambda: records_of(*about, outcomes, *rest, profile.randomized))
        if found is None:
            found = unattacked(records_of(*about, [_untouched(images)] * len(grid), *rest, profile.randomized))
        return found, reason


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


def _or_reason(work: Callable[[], Value]) -> tuple[Value | None, str]:
    """(what `work` returns, "") or (None, why it raised): a user's model may raise anything at any image."""
    try:
        return work(), ""
    except Exception as error:
        if is_bad_input(error):
            raise
        return None, str(error).partition("\n")[0] if isinstance(error, EscrimeError) else in_one_line(error)


def _untouched(images: Images) -> Outcome:
    nothing = torch.zeros(len(images.labels))
    return Outcome(images.pixels, nothing, nothing)


def _sharing(cases: list[Case], label: str, attack: AnyAttack, samples: dict) -> dict[tuple, list[Case]]:
    """Cases that share adversarial images, by the attacked network, the sample of images, and whether it is `for_transfer`."""
    groups: dict[tuple, list[Case]] = {}
    changes = for_transfer(attack) is not attack
    for case in cases:
        sample = samples.get((case.subject.defense, case.threat, label))
        groups.setdefault((id(case.attacked), sample, changes and case.threat == TRANSFER), []).append(case)
    return groups


def for_transfer(attack: AnyAttack) -> AnyAttack:
    """The attack as it is made on one network to fool another: all steps are spent, where one that leaves at its first
    success would stop at the boundary of the network it is made on, which the other does not share. It costs as much on every
    image as on one that stands, and for AutoAttack that is all of its stages.

    Itself where that changes nothing (FGSM, DGSM), and for attacks that look for the nearest example (FMN, DeepFool,
    CarliniWagner, RayS): that is what they are, so a transfer of theirs shows little; κ of CarliniWagner makes it transfer.
    WorstCase gives its attack, as another network does not fall at the same ε.
    """
    if isinstance(attack, WorstCase):
        return for_transfer(attack.attack)
    if not isinstance(attack, Attack) or isinstance(attack, MinimumNorm) or not is_dataclass(attack):
        return attack
    own = {field.name for field in fields(attack)}
    if "early_stop" not in own:
        return attack
    spent = replace(attack, early_stop=False, **({"give_up": None} if "give_up" in own else {}))
    return attack if spent == attack else spent


def craft(
    attack: AnyAttack,
    model: Classifier,
    images: Images,
    targets: Tensor,
    epsilons: list[float],
    seed: int,
    eot: int | None,
) -> list[Outcome]:
    """Run the attack at every ε on the images it applies to; the others, and all at ε = 0, stay as they are.

    eot: noise draws per gradient of a randomized model, None for a deterministic one. An image that already belongs to
    the target class is left unchanged and counted, as in the paper's DGSM sweep. A callable that is not an Attack is
    called as attack(model, images, labels) at its own ε, on the model in eval mode; what it draws from a global generator
    is seeded by `seed` and the ids of the images, all at once.
    """
    rows = (targets != images.labels).nonzero().flatten()
    zero = torch.zeros(len(images.labels))
    outcomes = [_untouched(images) for _ in epsilons]
    positive = [i for i, eps in enumerate(epsilons) if eps > 0]
    if not len(rows) or not positive:
        return outcomes
    pixels, labels, ids = images.pixels[rows], images.labels[rows], [images.ids[i] for i in rows.tolist()]
    if isinstance(attack, Attack):
        if eot is not None:
            attack = attack.against_noise(eot)
        swept = attack.sweep(model, pixels, labels, [epsilons[i] for i in positive], seed=seed, ids=ids)
    else:
        unknown = torch.full((len(rows),), float("nan"))
        devices = [pixels.device.index or 0] if pixels.device.type == "cuda" else []
        with no_trace(model, pixels.device), _looking(model):
            seed_all_generators(key("callable", seed, *map(str, ids)), devices)
            found = attack(model, pixels.clone(), labels.clone())  # it may work in place
        found = found.detach() if isinstance(found, Tensor) else found
        swept = [Outcome(_rounded_into(found, pixels, epsilons[i], norm_of(attack)), unknown, unknown) for i in positive]
    for i, outcome in zip(positive, swept, strict=True):
        adversarial, forwards, backwards = images.pixels.clone(), zero.clone(), zero.clone()
        adversarial[rows], forwards[rows.cpu()], backwards[rows.cpu()] = (
            outcome.adversarial,
            outcome.forwards.cpu(),
            outcome.backwards.cpu(),
        )
        outcomes[i] = Outcome(adversarial, forwards, backwards)
    return outcomes


@contextmanager
def _looking(model: Classifier) -> Iterator[None]:
    """Within the block a deadline is looked at before every call of the model, by whomever."""
    handle = None
    if time_left() is not None and isinstance(model, torch.nn.Module):
        handle = model.register_forward_pre_hook(lambda *_: look())
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _rounded_into(found: Tensor, images: Tensor, eps: float, geometry: Norm) -> Tensor:
    """Other libraries keep ε up to the rounding of float32: what is beyond it by no more is put back. What is farther out
    stays there, for the verification to see."""
    if not isinstance(found, Tensor):
        raise EscrimeError(
            f"the attack returned a {type(found).__name__}; an attack(model, images, labels) returns images, a float32 tensor."
        )
    if found.shape != images.shape or found.dtype != images.dtype:
        raise EscrimeError(
            f"the attack returned {found.dtype} of shape {tuple(found.shape)} for images of shape {tuple(images.shape)}; "
            "an attack(model, images, labels) returns float32 images of the same shape."
        )
    inner = geometry.project(found, images, eps)
    close = (inner - found).flatten(1).abs().amax(1) <= ROUNDING
    return torch.where(close[:, None, None, None], inner, found)


def within_budget(outcome: Outcome, images: Images, eps: float, geometry: Norm) -> tuple[Tensor, Tensor]:
    """(which adversarial images keep to ε, (N,) bool; all of them, (N, C, H, W)). What breaks its budget is not counted: the
    image stands as it was."""
    verified = geometry.inside(outcome.adversarial, images.pixels, eps)
    return verified, torch.where(verified[:, None, None, None], outcome.adversarial, images.pixels)


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
        verified, adversarial = within_budget(outcome, images, eps, geometry)
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
            survives[rows] = torch.where(
                goal != NO_TARGET, again.prediction == goal, again.prediction != images.labels[rows].cpu()
            )
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
                "distance": geometry.distance(adversarial, images.pixels).cpu().numpy(),
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


def _targets(attack: object, images: Images) -> Tensor:
    target = getattr(attack, "target", None)
    return torch.full_like(images.labels, NO_TARGET if target is None else target)
