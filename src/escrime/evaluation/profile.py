"""What an attacker who knows a model sees of it: is it random, where do its gradients fail, and what to climb instead."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from ..attacks.adaptive.inner_logits import Inner, inner_logits, taught_logits
from ..attacks.adaptive.surrogate import Surrogate
from ..attacks.pgd import PGD
from ..checks import check_images, no_targets
from ..defenses import MajorityVote, PredictionAveraging
from ..errors import or_reason
from ..models.adapted import in_its_precision, plain
from ..models.fast.prepare import hooked
from ..models.fast.twin import Twin
from ..models.filled_batch import FilledBatch, fewest
from ..models.fresh import Fresh
from ..models.running import Classifier, check_logits, differentiable, failure_named, no_trace, ordinary
from ..norms import DEFAULT, NORMS, norm
from ..randomness import as_keys, derive, row_keys, uniform_noise
from ..results.checks.counting import FEWEST
from ..results.findings import Finding
from ..results.threats import BLACK_BOX, WHITE_BOX
from .checks.batch import Alone, BatchEffect, batch_effect
from .checks.gradients import Gradients, flat_scores, measure_gradients, surrogate_settings
from .checks.neighborhood import Neighborhood, look_around
from .checks.state import Memory, memory_of
from .images import PART, Images, Source
from .scoring import as_they_are, draws_once_per_batch, score
from .subjects import AnyAttack, Case
from .surrogates import choose_surrogate

Value = TypeVar("Value")
OURS: tuple[Any, ...] = (PredictionAveraging, MajorityVote)
LOOKED_OF_FEW = 5  # images of an evaluation that has too few for a verdict
REMEMBERS, SURROUNDS, COMPANY = "whether it remembers", "what surrounds the images", "whether company matters"
BOUNDARY = "gradients beside the boundary"
BESIDE, HALVINGS = 12, 5  # images that are followed to the boundary of their class, and how closely


@dataclass(frozen=True)
class ProbeBudget:
    """The ε and norm that a model is looked at with."""

    eps: float
    norm: str = DEFAULT

    def per_pixel(self, images: Tensor) -> float:
        """How far ε moves each color value of an image if it moves all alike."""
        return self.eps / norm(self.norm).diameter(images)

    @classmethod
    def of(cls, grids: Mapping[str, Iterable[float]], norms: dict[str, str]) -> "ProbeBudget":
        """The median ε above 0 of the attacks in l_inf, or of all where none is; rendered norms are no neighborhood."""
        norms = {name: own for name, own in norms.items() if not NORMS[own].rendered}
        norm = DEFAULT if DEFAULT in norms.values() or not norms else next(iter(norms.values()))
        positive = sorted(eps for name, grid in grids.items() if norms.get(name) == norm for eps in grid if eps > 0)
        return cls(positive[len(positive) // 2] if positive else 0.04, norm)


@dataclass(frozen=True)
class Profile:
    """classes: K. randomized: repeated forwards disagree. twin: the model and its faster copy, for verdicts. surrogate: what
    gradient attacks climb; the twin itself where the model's gradients are as they should be. gradients: what was measured,
    None for a plain callable or where no image is classified right. settings: of the Surrogate, {} without one. blind: it gives
    no gradients that could be had. others: surrogates that fooled images which the chosen one did not. true: what is climbed
    has the slopes of the model. around: what the model does close to the images. memory: what it remembers. failure: why it
    cannot be differentiated. raised: what could not be seen because the model raised, and what it raised. batch: what company
    does to its predictions, None where noise hides it; where they depend on it, twin and surrogate show the model every image
    alone. asked: the model itself, in company where it cannot take one image. flat_scores: of a plain callable, whose scores no
    random step moves, (n,) bool."""

    classes: int
    randomized: bool
    twin: Twin
    surrogate: Twin
    gradients: Gradients | None
    settings: dict
    blind: bool = False
    others: tuple[Twin, ...] = ()
    true: bool = True
    around: Neighborhood = field(default_factory=Neighborhood)
    memory: Memory = field(default_factory=Memory)
    failure: str = ""
    raised: dict[str, str] = field(default_factory=dict)
    batch: BatchEffect | None = None
    asked: Classifier | None = None
    flat_scores: Tensor | None = None


def profile(
    model: Classifier, images: Tensor, labels: Tensor, budget: ProbeBudget, seed: int, forgets: bool = False
) -> Profile:
    """Look at `model` with a few images (N, C, H, W), and at what surrounds them within `budget`. forgets: it is known to
    remember nothing, so that its memory is not looked for.

    Errors: EscrimeError for a model that returns no logits (N, K).
    """
    model = in_its_precision(model)
    raised: dict[str, str] = {}
    look = partial(_unless_it_raises, raised)
    fresh = _copy(model)  # before it is asked anything that it may remember
    least, only_logits = fewest(model, images)
    if not only_logits:
        model, fresh = plain(model), None if fresh is None else Fresh(plain(fresh.model))
    if least > 1:
        model, fresh = FilledBatch(model, least), None if fresh is None else Fresh(FilledBatch(fresh.model, least))
    classes, reach = _classes(model, images[:2]), budget.per_pixel(images)
    memory = Memory() if forgets else look(REMEMBERS, lambda: memory_of(model, fresh, images, reach, seed), Memory())
    who: Any = fresh if memory and memory.copied else model
    around = look(SURROUNDS, lambda: look_around(who, images, reach, seed), Neighborhood())
    batch = None if around.randomized else look(COMPANY, lambda: batch_effect(who, images, reach / 4, seed), None)
    if batch is not None and batch.dependent:
        who = Alone(who)
        around = look(SURROUNDS, lambda: look_around(who, images, reach, seed), Neighborhood())
    twin = Twin(who)
    seen: dict[str, Any] = {"around": around, "memory": memory, "batch": batch, "asked": model, "raised": raised}
    looked_at = Profile(classes, around.randomized, twin, twin, None, {}, **seen)
    if not isinstance(model, nn.Module):
        looked_at = replace(looked_at, blind=not look("gradients", lambda: _gives_gradients(model, images[:2]), False))
    keys = [(seed, row, "approach") for row in range(len(images))]
    anything, none = torch.zeros_like(labels), no_targets(labels)  # labels of no class are refused later
    with as_they_are():
        right = score(twin, images, anything, none, keys).prediction == labels.cpu()
    if not right.any() or around.ignores or classes < 2:
        return looked_at
    rows = right.to(images.device)
    x, y = images[rows], labels[rows]
    if not isinstance(model, nn.Module):
        return replace(looked_at, flat_scores=look("scores", lambda: flat_scores(who, x, y, reach, seed), None))
    found, failure = or_reason(lambda: measure_gradients(who, x, y, reach / 4, seed))
    if found is not None and found.true and not around.randomized:
        found = look(BOUNDARY, partial(_beside_the_boundary, found, who, twin, x, y, budget, seed), found)
    settings = surrogate_settings(found) if found is not None else {"through": True}
    if around.mode:
        settings["through"] = True
    if around.randomized and draws_once_per_batch(who, images[:1]):
        settings["apart"] = True
    if around.off_grid:
        settings["grid"] = True
    known = replace(looked_at, gradients=found, failure=failure)
    if found is not None and not settings:
        return replace(known, true=found.true, others=() if around.randomized else _beneath(who, x, seed))
    hidden = found is None or around.mode or around.off_grid or not _gradient_is_there(found)
    if not hidden:
        return _climbing(known, Twin(Surrogate(who, **settings)), settings, x, y, reach, seed)
    inside = _inside(who, x, reach, seed) if found is None or (found.flat | found.zero | found.saturated).any() else []
    chosen, others = choose_surrogate(who, twin, settings, inside, x, y, budget.eps, norm(budget.norm), around.randomized, seed)
    if chosen is None:
        kept: dict[str, Any] = {name: settings[name] for name in ("grid", "apart") if name in settings}
        return replace(known, surrogate=Twin(Surrogate(who, **kept)), settings=kept, blind=True, true=False)
    surrogates = tuple(Twin(Surrogate(who, **other)) for other in others)
    return _climbing(replace(known, others=surrogates), Twin(Surrogate(who, **chosen)), chosen, x, y, reach, seed)


def _beside_the_boundary(
    found: Gradients, model: Classifier, twin: Twin, images: Tensor, labels: Tensor, budget: ProbeBudget, seed: int
) -> Gradients:
    """`found`, and beside it what is measured just before the decision changes, where attacks end: a gradient may be true at
    the images and false there. Where it is false, those measurements are added as if they were of more images."""
    x, y = images[:BESIDE], labels[:BESIDE]
    attack: AnyAttack = PGD(budget.eps, steps=4, norm=budget.norm, loss="margin", early_stop=False)
    moved = attack(twin, x, y, seed=seed)
    low, high, none = torch.zeros(len(x)), torch.ones(len(x)), no_targets(y)
    for number in range(HALVINGS):
        middle = (low + high) / 2
        keys = [(seed, row, "boundary", number) for row in range(len(x))]
        right = score(twin, _between(x, moved, middle), y, none, keys).correct > 0.5
        low, high = torch.where(right, middle, low), torch.where(right, high, middle)
    near = measure_gradients(model, _between(x, moved, low), y, budget.per_pixel(images) / 4, seed)
    if not near.false:
        return found
    return Gradients(*(torch.cat([getattr(one, name.name) for one in (found, near)]) for name in fields(Gradients)))


def _between(one: Tensor, other: Tensor, part: Tensor) -> Tensor:
    """Points (N, C, H, W) that lie `part` (N,) of the way from `one` to `other`."""
    return one + part.to(one).reshape(-1, 1, 1, 1) * (other - one)


def _copy(model: Classifier) -> Fresh | None:
    """The model as it is now, None for one that cannot be copied."""
    try:
        return Fresh(model)
    except Exception:  # whatever copying somebody's model raises
        return None


def _unless_it_raises(raised: dict[str, str], what: str, look: Callable[[], Value], nothing: Value) -> Value:
    """What `look` finds, or `nothing` where the model raises, which is noted in `raised`."""
    found, reason = or_reason(look)
    if not reason:
        return cast(Value, found)
    raised[what] = reason
    return nothing


def _gradient_is_there(found: Gradients) -> bool:
    """Whether the margin has the model's gradient everywhere, but for pixels at the bounds; cross-entropy's may saturate."""
    gone = found.zero | found.not_finite | found.flat
    return not found.false and not gone.any()


def _gives_gradients(model: Callable, images: Tensor) -> bool:
    """Whether the logits of a plain callable can be differentiated. It gets a clone of the leaf, for it may write into it."""
    keys = row_keys([("gives_gradients", row) for row in range(len(images))])
    with no_trace(model, images.device), differentiable(), torch.enable_grad(), keys:
        return model(ordinary(images).detach().requires_grad_().clone()).requires_grad


def _climbing(
    known: Profile, surrogate: Twin, settings: dict, images: Tensor, labels: Tensor, reach: float, seed: int
) -> Profile:
    """The profile over `surrogate`, with what its gradient is worth."""
    try:
        found = measure_gradients(surrogate.model, images, labels, reach / 4, seed, 0)
        true = "inner" not in settings and found.true and found.whole
    except Exception:
        true = False
    return replace(known, surrogate=surrogate, settings=settings, true=true)


def _beneath(model: nn.Module, images: Tensor, seed: int) -> tuple[Twin, ...]:
    """A surrogate that climbs logits inside a model whose own have a true gradient, where they are more than these times a
    number: what is made of them may lead astray. () where there are none."""
    keys = as_keys([(seed, row, "beneath") for row in range(len(images))])
    try:
        with no_trace(model, images.device), row_keys(keys):
            inner = inner_logits(model, images, others_only=True)
        return () if inner is None else (Twin(Surrogate(model, inner=inner)),)
    except Exception:  # it is only one more way in
        return ()


def _inside(model: nn.Module, images: Tensor, reach: float, seed: int) -> list[Inner]:
    """Inner logits of a model whose own are flat, or a head taught on what is inside; see attacks/adaptive/inner_logits.py."""
    keys, found = as_keys([(seed, row, "inside") for row in range(len(images))]), []
    around = [images] + [
        (images + factor * reach * uniform_noise(images, 1, derive(keys, number))[0].sign()).clamp(0, 1)
        for number, factor in enumerate((0.5, 1.0, 2.0, 3.0))
    ]
    for look in (lambda: inner_logits(model, images), lambda: taught_logits(model, around)):
        try:
            with no_trace(model, images.device), row_keys(keys):
                found.append(look())
        except Exception:  # it is only one way in of several
            continue
    return [inner for inner in found if inner is not None]


@torch.no_grad()
def _classes(model: Classifier, images: Tensor) -> int:
    shape = " × ".join(map(str, images.shape[1:]))
    fails, remedy = f"the model fails on float32 images of {shape} in [0, 1]", "give images of its size, and a float32 model"
    keys = row_keys([("classes", row) for row in range(len(images))])
    with failure_named(fails, remedy), no_trace(model, images.device), keys:
        return check_logits(model(images.clone()), images).shape[1]


class Profiles:
    """The profile of each model, made on a few of the images when it is first asked for."""

    def __init__(self, source: Source, budget: ProbeBudget, seed: int, count: int = PART) -> None:
        self.source, self.budget, self.seed, self.count = source, budget, seed, count
        self.known: dict[int, Profile] = {}
        self.fed: dict[int, list[Finding]] = {}  # id of a model → what an earlier look found about how it is fed
        # Name of a case, number of its images that were attacked → what the checks found of its model, whatever the norm.
        self.found: dict[tuple[tuple[str, str, str], int], list[Finding]] = {}

    def __getitem__(self, model: Classifier) -> Profile:
        if id(model) not in self.known:
            looked = self.images
            if len(self.source) < FEWEST:  # no number of so few images is believed, so a short look will do
                looked = self.source.few(min(self.count, LOOKED_OF_FEW), self.seed)
            found = profile(model, looked.pixels, looked.labels, self.budget, self.seed, self._forgets(model))
            self.source.check_classes(found.classes)
            self.known[id(model)] = found
        return self.known[id(model)]

    def _forgets(self, model: Any) -> bool:
        """Whether it is a defense of ours around a network that was seen to remember nothing: it holds nothing of its own, and
        asking it what its network was asked would cost a pass per copy."""
        return type(model) in OURS and not hooked(model) and not self[model.undefended].memory

    @cached_property
    def images(self) -> Images:
        """`count` of them, as many as a slice holds unless there is no time for that, evenly over the classes; always the same,
        so that a resumed evaluation decides alike."""
        few = self.source.few(self.count, self.seed)
        check_images(few.pixels)
        return few


def as_attacked(cases: list[Case], profiles: Profiles) -> list[Case]:
    """The cases, those of an undefended model that gives no gradients at the threat level of a black box."""
    blind = lambda case: not isinstance(case.attacked, nn.Module) and profiles[case.attacked].blind  # noqa: E731
    return [replace(case, threat=BLACK_BOX) if case.threat == WHITE_BOX and blind(case) else case for case in cases]
