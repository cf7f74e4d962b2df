"""Looking for what the attacks of an evaluation missed: other losses, more steps, scores alone, labels alone, random points,
transfer, and smoothed gradients, on the same few images and the same ε.

A white-box attack that any of them beats was misled. Carlini et al. (2019), On evaluating adversarial robustness, section
4.2; Tramèr et al. (2020), On adaptive attacks to adversarial example defenses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...attacks.adaptive.surrogate import Surrogate
from ...attacks.apgd import APGD
from ...attacks.core.base import Attack
from ...attacks.hop_skip_jump import HopSkipJump
from ...attacks.patch import Patch
from ...attacks.pgd import PGD
from ...attacks.random_points import RandomPoints
from ...attacks.rays import RayS
from ...attacks.sigma_zero import SigmaZero
from ...attacks.sparse_rs import SparseRS
from ...attacks.square import PROPOSALS, Square
from ...checks import no_targets
from ...errors import or_reason
from ...models.deadline import as_time_allows
from ...models.fast.twin import Twin
from ...models.running import Classifier, check_logits
from ...norms import Norm, norm
from ...results.checks.counting import FEWEST
from ..effort import Effort
from ..quantized import near_the_grid, on_the_grid
from ..scoring import score
from ..shared_rows import SharedRows, alone
from ..subjects import AnyAttack

SMOOTH = (0.25, 0.5)  # of ε: how far around a point its slope is averaged
SMOOTH_SAMPLES = 8
WHOLE = 1.0  # as far as a value goes, where ε allows more of a few
JUDGES = 64  # fresh noise draws behind the judgment of one example on a randomized model,
JUDGES_OF_FEW = 8  # and where there are too few images for a verdict
GIVE_UP = 2.0
FEW_IMAGES, FEW_QUERIES = 16, 400  # that labels alone are asked for on any model
LABEL_QUERIES = 4  # times the queries by scores: a label holds less
FEW_POINTS = 100  # random points per image where the gradients are true
GUESSES = 20  # random points per image that an attack has to beat
FURTHER = 4  # doublings beyond those asked for, while each still takes an image
TURNED_STEPS = 20
GRADIENT = ("gradient", "smooth", "longer")
NOTABLE = 0.05  # a share of the images from which a difference counts,
FEWEST_NOTABLE = 3  # and a number of images


@dataclass(frozen=True)
class Attempt:
    """One attack on one surrogate. way: "gradient", "random", "scores", "labels", "transfer", "turned", "smooth",
    "longer" or "confined". few: on how many of the images at most it is tried, 0 for all."""

    name: str
    way: str
    attack: Attack
    surrogate: Twin
    few: int = 0


@dataclass(frozen=True)
class Trial:
    """What an attempt did on the sample: the mean accuracy it leaves on its own, what it takes off the best before it, and why
    it failed, "" where it did not."""

    attempt: Attempt
    accuracy: float
    gain: float
    failure: str = ""


@dataclass(frozen=True)
class Earlier:
    """What the attacks that were asked for left of each image (N,): the chance that it is still right, the least confidence of
    the model in its label (1 where it was fooled, or not seen), and the smallest ε that fooled it (inf where none did)."""

    left: Tensor
    sure: Tensor
    eps: Tensor


@dataclass
class Search:
    """A model under search, with the images (N, C, H, W) it is searched on, a sample of the `total` that were attacked. `left`
    (N,): the chance that each is still right under the best attack so far. asked: what the attacks asked for left. grid: the
    model treats 8-bit images otherwise than others. judged: `left` is of JUDGES draws. mask: see
    Images. raised: what made the model raise, and what it raised."""

    twin: Twin
    surrogate: Twin
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
    asked: "Earlier | None" = None
    total: int = 0
    others: tuple[Twin, ...] = ()
    grid: bool = False
    judged: bool = False
    mask: Tensor | None = None
    shared: SharedRows = field(default_factory=alone)
    trials: list[Trial] = field(default_factory=list)
    raised: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sure = torch.ones_like(self.left)

    @property
    def accuracy(self) -> float:
        return float(self.left.mean())

    @property
    def judges(self) -> int:
        """Fresh noise draws behind the judgment of one example on a randomized model."""
        return JUDGES_OF_FEW if 0 < self.total < FEWEST else JUDGES

    @property
    def geometry(self) -> Norm:
        return norm(self.norm)

    def after(self, purpose: str, attack: Attack, surrogate: Twin, rows: Tensor, eps: float | None = None) -> Tensor:
        """Attack the images at `rows` (n,), which the processes share, and judge the examples: the share of noise draws, never
        seen by an attack, in which each is classified right, (n,); see `verified_examples`. eps: what they may be judged
        within, by default the ε of the search."""
        right, sure = self.shared.map(purpose, rows, lambda own: self._judged(purpose, attack, surrogate, own, eps)[1:])
        if eps is None:  # an example within the budget: how sure the model is left of an image that stands
            self.sure[rows] = torch.where(right > 0, torch.minimum(self.sure[rows], sure), self.sure[rows])
        return right

    def distances(self, purpose: str, attack: Attack) -> tuple[Tensor, Tensor]:
        """(how far the attack moves each image (N,), whether it is classified right there (N,)), whatever the distance."""
        geometry = norm(self.norm)
        far = geometry.diameter(self.images)

        def work(own: Tensor) -> tuple[Tensor, Tensor]:
            moved, right, _ = self._judged(purpose, attack, self.surrogate, own, far)
            return geometry.distance(moved, self.images[own.to(self.images.device)]).cpu(), right

        away, right = self.shared.map(purpose, torch.arange(len(self.left)), work)
        return away, right

    def _judged(self, purpose: str, attack: AnyAttack, surrogate: Twin, rows: Tensor, eps: float | None) -> tuple:
        """(examples (n, C, H, W), the share of draws in which each is right (n,), the confidence in its label (n,))."""
        at, ids = rows.to(self.images.device), [self.ids[row] for row in rows.tolist()]
        images, labels = self.images[at], self.labels[at]
        moved = attack(surrogate, images, labels, seed=self.seed, ids=ids, mask=self.mask)
        keys = [(self.seed, name, "search", purpose, self.eps) for name in ids]
        draws, within = self.judges if self.randomized else 1, self.eps if eps is None else eps
        about = (images, labels, keys, within, norm(self.norm), draws, self.grid, self.mask)
        return moved, *verified_examples(self.twin, moved, *about)[1:]

    def rows(self) -> Tensor:
        """The images worth attacking, by position: those that still stand, and of a randomized model all whose chance a few
        draws have estimated. What is right in none of JUDGES draws (with 95 % confidence, in less than 5 % of all) is left:
        nothing could take more off the estimate."""
        return (torch.ones_like(self.left) if self.randomized and not self.judged else self.left).nonzero().flatten()

    def run(self, attempt: Attempt) -> Trial:
        """Make an attempt, keep what it found, and return what it was good for. Whatever the model raises is noted."""
        rows = self.rows()[: attempt.few or None]
        if not len(rows):
            return self._note(attempt, self.left)
        attack, after = with_settings(attempt.attack, eps=self.eps), self.left.clone()
        with as_time_allows(attempt.name):
            found = self.unless_it_raises(attempt.name, lambda: self.after(attempt.name, attack, attempt.surrogate, rows))
            if found is None:
                return self._note(attempt, self.left, self.raised[attempt.name])
            after[rows] = found
            return self._note(attempt, after)
        return self._note(attempt, self.left, "there was no time for it")

    def unless_it_raises(self, what: str, look: Callable[[], Tensor]) -> Tensor | None:
        """What `look` finds; None where somebody's model raises, which is noted: it is no sign of strength."""
        found, reason = or_reason(look)
        if reason:
            self.raised[what] = reason
        return found

    def _note(self, attempt: Attempt, after: Tensor, failure: str = "") -> Trial:
        # A minimum of two noisy estimates would be too low: a randomized model takes the better attack as a whole.
        better = self.randomized and bool(after.mean() < self.left.mean())
        best, self.judged = (after, True) if better else (self.left, self.judged)
        best = best if self.randomized else torch.minimum(self.left, after)
        trial = Trial(attempt, float(after.mean()), float(self.left.mean() - best.mean()), failure)
        self.left = best
        self.trials.append(trial)
        return trial

    def guesses(self) -> float:
        """The accuracy that a few random points of the ball leave on all images, 0 where there is no time to look, or where the
        model raises there."""
        attack = RandomPoints(self.eps, draws=GUESSES, norm=self.norm, early_stop=not self.randomized)
        with as_time_allows("random points to compare with"):
            every = torch.arange(len(self.left))
            found = self.unless_it_raises("random points", lambda: self.after("guesses", attack, self.twin, every))
            return 0.0 if found is None else float(found.mean())
        return 0.0


def notable(gain: float, n: int) -> bool:
    """Whether to take a share `gain` more of n images means anything."""
    return gain >= NOTABLE and gain * n >= FEWEST_NOTABLE - 0.5


def with_settings(attack: Attack, **settings: object) -> Attack:
    """The attack, which like every one of ours is a dataclass, with other settings."""
    return replace(cast(Any, attack), **settings)


def verified_examples(
    twin: Twin,
    moved: Tensor,
    images: Tensor,
    labels: Tensor,
    keys: list,
    eps: float,
    norm: Norm,
    draws: int,
    grid: bool,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Examples (N, C, H, W), the share of `draws` (N,) in which the original is right about them, and its confidence (N,) in
    what it predicts. On a deterministic model, or one that treats files otherwise (`grid`), an image that stands is asked about
    as the 8-bit image next to it too."""
    none = no_targets(labels)
    found, first = moved.clone(), score(twin, moved, labels, none, keys, draws)
    right, sure = first.correct.float(), first.confidence.float()
    for rounded in (near_the_grid, on_the_grid)[: (draws == 1) + grid]:
        rows = (right > 0).nonzero().flatten()
        if len(rows):
            at = rows.to(images.device)
            saved, own = rounded(moved[at], images[at], eps, norm, mask), [keys[row] for row in rows.tolist()]
            again = score(twin, saved, labels[at], none[at], own, draws)
            better = again.correct.float() < right[rows]
            found[at[better.to(at.device)]] = saved[better.to(at.device)]
            sure[rows[better]] = again.confidence.float()[better]
            right[rows] = torch.minimum(right[rows], again.correct.float())
    return found, right, sure


def gradient_attempts(search: Search, classes: int) -> list[Attempt]:
    """The attacks that follow the gradient: two losses, since either can be blind; the second-best surrogates by one."""
    effort, norm = search.effort, search.norm
    if search.randomized:
        noisy = PGD(search.eps, steps=min(effort.steps, 40), norm=norm, early_stop=effort.eot > 1, eot=effort.eot)
        return [
            Attempt(f"PGD-{loss.upper()}, EOT {effort.eot}", "gradient", replace(noisy, loss=loss), search.surrogate)
            for loss in ("ce", "margin")
        ]
    attempts = _counted(search) if search.geometry.grain else _lengths(search, classes)
    for number, surrogate in enumerate(search.others):
        attack = PGD(search.eps, steps=effort.steps, norm=norm, loss="margin")
        attempts.append(Attempt(f"PGD, surface {number + 2}", "gradient", attack, surrogate))
    return attempts


def _lengths(search: Search, classes: int) -> list[Attempt]:
    """APGD with two losses, where ε is a length."""
    loss, tried = ("dlr" if classes >= 4 else "margin"), min(9, classes - 1)
    apgd = APGD(search.eps, norm=search.norm, steps=search.effort.steps, give_up=GIVE_UP)
    attempts = [Attempt("APGD-CE", "gradient", apgd, search.surrogate)]
    if tried:
        targeted = replace(apgd, loss=loss, targets_tried=tried)
        attempts.append(Attempt(f"APGD-{loss.upper()}-T", "gradient", targeted, search.surrogate))
    return attempts


def _counted(search: Search) -> list[Attempt]:
    """Where ε counts pixels: which of them, by a smooth count and by their slopes."""
    steps = search.effort.steps
    fewest, patch = SigmaZero(search.eps, steps=steps, stop_within=True), Patch(search.eps, steps=steps)
    able = [attack for attack in (fewest, patch) if search.norm in attack.norms]
    pgd = PGD(search.eps, steps=steps, norm=search.norm, loss="margin")
    return [Attempt(attack.name, "gradient", attack, search.surrogate) for attack in (*able, pgd)]


def other_attempts(search: Search, flat: bool = False, true: bool = False) -> list[Attempt]:
    """The attacks that do not follow the model's gradient: random points, transfer, scores alone, and labels alone, on a few
    images unless the scores are `flat`. Where its gradients are `true`, they have led at least as far as chance could: then a
    search by scores leaves what it will not reach, and a few random points are asked about, to show a pocket that one in a
    hundred meets."""
    effort, norm = search.effort, search.norm
    count = min(effort.draws, FEW_POINTS) if true else effort.draws
    points = RandomPoints(search.eps, draws=count, norm=norm, early_stop=not search.randomized)
    attempts = [Attempt(f"{count:,} random points", "random", points, search.twin)]
    if search.undefended is not None:
        attack = PGD(search.eps, steps=min(effort.steps, 40), norm=norm, early_stop=False)
        attempts.append(Attempt("transfer", "transfer", attack, search.undefended))
    return attempts + score_attempts(search, true) + decision_attempts(search, few=not flat)


class Turned(nn.Module):
    """The same predictions (N, K) with a margin that falls where that of the model rises, for models that are the surer the
    nearer they are to the boundary: gradients and scores are true there, and lead away."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits = check_logits(self.model(images), images)
        top, at = logits.topk(2)
        first, second = top.unbind(1)
        turned = second + 2 * (first - second).detach() - (first - second)
        return logits.scatter(1, at[:, :1], turned[:, None])


def turned_attempts(search: Search, classes: int) -> list[Attempt]:
    """The gradient followed the other way."""
    if search.randomized or classes < 2:
        return []
    attack = PGD(search.eps, steps=min(search.effort.steps, TURNED_STEPS), norm=search.norm, loss="margin")
    return [Attempt("PGD against the gradient", "turned", attack, Twin(Turned(search.surrogate.model)))]


def score_attempts(search: Search, true: bool) -> list[Attempt]:
    """The attack that needs scores only, in the norms that it has proposals for."""
    effort = search.effort
    queries = max(effort.queries // effort.eot, 1) if search.randomized else effort.queries
    attack = by_scores(search.norm, search.eps, queries)
    if attack is None:
        return []
    attack = with_settings(attack, give_up=GIVE_UP if true else None)
    attack = attack.against_noise(effort.eot) if search.randomized else attack
    return [Attempt(f"{attack.name}-{queries}", "scores", attack, search.surrogate if search.grid else search.twin)]


def by_scores(norm: str, eps: float, queries: int) -> Attack | None:
    """The random search in this norm; None where there is none."""
    if norm in SparseRS.norms:
        return SparseRS(eps, queries, norm)
    return Square(eps, queries=queries, norm=norm) if norm in PROPOSALS else None


def decision_attempts(search: Search, few: bool = False) -> list[Attempt]:
    """The attack that needs labels only, for scores that lead nowhere; on a `few` images of any deterministic model, whose
    scores may rise on the way to the boundary: their gradient is true then and leads nowhere."""
    kinds = [kind for kind in (RayS, HopSkipJump) if search.norm in kind.norms]
    if not kinds or few and search.randomized:
        return []
    queries = LABEL_QUERIES * search.effort.queries
    queries = min(FEW_QUERIES, queries) if few else queries
    attack = kinds[0](search.eps, queries=queries, stop_within=not search.randomized)
    surrogate = search.surrogate if search.grid else search.twin
    return [Attempt(f"{attack.name}-{queries}", "labels", attack, surrogate, FEW_IMAGES if few else 0)]


def smooth_attempts(search: Search) -> list[Attempt]:
    """The gradient averaged over the neighborhood, for models so jagged that a single one leads nowhere."""
    model, attempts = search.surrogate.model, []
    reach = min(search.eps, WHOLE) if search.geometry.sparse else search.eps  # of a value
    for part in SMOOTH:
        surrogate = Twin(Surrogate(model, smooth=part * reach, samples=SMOOTH_SAMPLES))
        attack = PGD(search.eps, steps=min(search.effort.steps, 40), norm=search.norm, loss="margin")
        attempts.append(Attempt(f"smoothed gradient, {part:g} ε", "smooth", attack, surrogate))
    return attempts


def longer_attempts(search: Search) -> Iterator[Attempt]:
    """The best gradient attack so far with twice the steps (and noise draws), again and again; ask for the next one while
    the last one gained."""
    best = best_trial(search, GRADIENT)
    if best is None:
        return
    attack, steps, eot = best.attempt.attack, getattr(best.attempt.attack, "steps", 1), best.attempt.attack.eot
    for _ in range(search.effort.doublings + FURTHER * (search.effort.doublings > 0 and not search.randomized)):
        steps, eot = 2 * steps, 2 * eot if search.randomized else eot
        attack = with_settings(attack, steps=steps, **({"eot": eot} if search.randomized else {}))
        noise = f", EOT {eot}" if search.randomized else ""
        yield Attempt(f"{attack.name} {steps} steps{noise}", "longer", attack, best.attempt.surrogate)


def best_trial(search: Search, ways: tuple[str, ...] | None = None) -> Trial | None:
    """The trial that left least, of those `ways`; on a deterministic model, the one that took most."""
    tried = [t for t in search.trials if not t.failure and (ways is None or t.attempt.way in ways)]
    return min(tried, key=lambda t: (t.accuracy, -t.gain), default=None)
