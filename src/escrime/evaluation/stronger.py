"""After the attacks that were asked for: examine each model, and run what its examination calls for on every image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ..attacks.core.base import Outcome
from ..budgets import within
from ..checks import no_targets
from ..errors import is_bad_input, or_reason
from ..no_class import NO_TARGET
from ..norms import Norm, norm
from ..results.records import STRONGER, unattacked, worst_case
from ..results.threats import TRANSFER
from ..results.verdicts import NO_HEADLINES, verdict_eps
from .checks.another_draw import another_draw
from .checks.examine import Examination, examine
from .checks.neighborhood import neighborhood_findings
from .checks.search import Attempt, Earlier, Search, verified_examples, with_settings
from .checks.state import memory_findings
from .chunks import Begun, Chunks, Done, no_progress, nothing_done
from .crafting import untouched
from .effort import Effort
from .images import Images
from .parts import Part, records_of, unfinished
from .profile import Profile, Profiles
from .scoring import Predicted, as_they_are, score
from .shared_rows import SharedRows
from .subjects import AnyAttack, Case


@dataclass(frozen=True)
class Scope:
    """What an examination stands on: a case, its norm, the ε of its untargeted attacks and of its headline."""

    case: Case
    norm: str
    grid: list[float]
    eps: float


def scopes(cases: list[Case], records: pd.DataFrame, headlines: Mapping[str, float] = NO_HEADLINES) -> list[Scope]:
    """One scope per case an attacker may know (so not under transfer) and norm; headlines: norm → ε, see `verdict_eps`."""
    found = []
    for case in (case for case in cases if case.threat != TRANSFER):
        own = worst_case(of_case(records, case))
        for name in own["norm"].unique():
            rows = own[(own["norm"] == name) & (own["threat"] == case.threat) & (own["eps"] > 0)]
            if len(rows):
                grid = sorted(float(e) for e in rows["eps"].unique())
                found.append(Scope(case, name, grid, verdict_eps(rows, records, headlines.get(name))))
    return found


def of_case(records: pd.DataFrame, case: Case) -> pd.DataFrame:
    """The rows of the attacks that were asked for on a case, and on the same defense under transfer, since who knows a defense
    may also ignore it; without the rows of a stronger attack, which a continued run holds already."""
    subject = case.subject
    same = (records["model"] == subject.model) & (records["defense"] == subject.defense)
    same &= ~records["attack"].str.startswith(STRONGER)
    return records[same & records["threat"].isin([case.threat, TRANSFER])]


def standing(records: pd.DataFrame, norm: str, eps: float, randomized: bool) -> pd.Series:
    """The chance that each image (the index) is still right under what was run within ε, the clean image included.

    The attack that is worst on average stands for a randomized model: a minimum per image over noisy estimates would be too
    low. `preliminary` is what chooses, `correct` what is reported.
    """
    allowed = records[(records["norm"] == norm) & (within(records["eps"], eps))]
    rows = allowed[allowed["verified"]]
    # A clean image that was never scored at ε = 0 is known by its clean prediction.
    clean = records.groupby("image", sort=False)[["clean_prediction", "label"]].first()
    clean = (clean["clean_prediction"] == clean["label"]).astype(float)
    if randomized:
        # What breaks its budget stands for its image, as it was, where there is nothing else.
        rows = pd.concat([rows, allowed[~allowed["image"].isin(rows["image"])]])
        # An attack that ran on some of the images only is compared with the others on those.
        attacks = rows.groupby(["threat", "attack", "eps"])["preliminary"]
        threat, attack, at = attacks.mean().idxmin()
        best = rows[(rows["threat"] == threat) & (rows["attack"] == attack) & (rows["eps"] == at)]
        rest = rows[~rows["image"].isin(best["image"])]
        known = pd.concat([best, rest]).groupby("image", sort=False)["preliminary"].mean()
        return known.combine_first(clean).reindex(clean.index)
    low = rows.groupby("image", sort=False)["preliminary"].min()
    return clean.combine(low, min).reindex(clean.index)


def examination(
    scope: Scope,
    profiles: Profiles,
    attacks: Mapping[str, AnyAttack],
    records: pd.DataFrame,
    effort: Effort,
    seed: int,
    shared: SharedRows,
) -> Examination:
    """Examine the case of `scope` on a few of the images that it was attacked on, which the processes of `shared` share."""
    case, own = scope.case, of_case(records, scope.case)
    profile = profiles[case.attacked]
    left = standing(own, scope.norm, scope.eps, profile.randomized)
    images = profiles.source.few(effort.images, seed, set(left.index))
    if norm(scope.norm).rendered:  # there an attack renders all there is
        return _of_rendered(scope, profiles, attacks, own, images, seed)
    undefended = case.subject.undefended
    search = Search(
        twin=profiles[case.subject.classifier].twin,
        surrogate=profile.surrogate,
        undefended=None if undefended is None else profiles[undefended].surrogate,
        randomized=profile.randomized,
        images=images.pixels,
        labels=images.labels,
        mask=images.mask,
        ids=images.ids,
        eps=scope.eps,
        norm=scope.norm,
        effort=effort,
        seed=seed,
        left=torch.tensor([float(left[str(name)]) for name in images.ids]),
        asked=_asked_for(own, scope, left, images.ids),
        total=len(left),
        others=profile.others,
        grid=bool(profile.settings.get("grid")),
        shared=shared,
    )
    return examine(search, profile)


def _of_rendered(
    scope: Scope, profiles: Profiles, attacks: Mapping[str, AnyAttack], own: pd.DataFrame, images: Images, seed: int
) -> Examination:
    """No stronger attack is looked for, but whether the model is one that such a number can be believed of."""
    profile = profiles[scope.case.attacked]
    findings = neighborhood_findings(profile.around, len(images.labels)) + memory_findings(profile.memory)
    if norm(scope.norm).drawn:
        twin = profiles[scope.case.subject.classifier].twin
        findings += another_draw(twin, images, own, attacks, scope.norm, scope.eps, seed)
    return Examination(findings, [])


def _asked_for(own: pd.DataFrame, scope: Scope, left: pd.Series, ids: tuple) -> Earlier:
    """What the attacks that were asked for did to the images `ids`, from their rows."""
    rows = own[(own["norm"] == scope.norm) & own["verified"] & (own["target"] == NO_TARGET)]
    fooled_at = rows[rows["correct"] < 0.5].groupby("image")["eps"].min()
    stood = rows[within(rows["eps"], scope.eps) & (rows["prediction"] == rows["label"])].groupby("image")["confidence"].min()
    names = [str(name) for name in ids]
    of = lambda column, other: torch.tensor([float(column.get(name, other)) for name in names])  # noqa: E731
    return Earlier(of(left, 1.0), of(stood, 1.0), of(fooled_at, float("inf")))


def stronger_parts(
    scope: Scope,
    attempts: list[Attempt],
    profiles: Profiles,
    slices: Callable[[], Iterator[Images]],
    records: pd.DataFrame,
    *,
    seed: int,
    draws: int,
    finished: Callable[[str], bool],
    done: Done = nothing_done,
    begun: Begun = no_progress,
    epsilons: list[float] | None = None,
    sample: frozenset | None = None,
) -> Iterator[tuple[Part, pd.DataFrame]]:
    """Yield (part, records) of the attempts, one after another, on every image that still stands, at every ε of the scope
    (or `epsilons`), of `sample`, where it is given. An image that was fooled before keeps the row of that attack. In chunks
    under a deadline, as `evaluate_parts`."""
    if not attempts:
        return
    case, profile = scope.case, profiles[scope.case.subject.classifier]
    own = of_case(records, case)
    places = own.groupby("image", sort=False).indices  # once: a search per part would take time as the square of the images
    chunks = Chunks()
    for index, images in enumerate(slices()):
        whole = images.only(frozenset(name for name in images.ids if str(name) in places and (not sample or name in sample)))
        part = Part(case, STRONGER + norm(scope.norm).suffix, index)
        for chunk in chunks.of(whole):
            for (own_part,), rest in unfinished([part], whole.ids, chunk, finished, done):
                chunks.worked = True
                begun(STRONGER, len(rest.ids))
                mine = own.iloc[np.sort(np.concatenate([places[str(name)] for name in rest.ids]))]
                yield own_part, _strengthen(own_part, scope, attempts, profile, rest, mine, epsilons or scope.grid, seed, draws)


def _strengthen(
    part: Part,
    scope: Scope,
    attempts: list[Attempt],
    profile: Profile,
    images: Images,
    own: pd.DataFrame,
    epsilons: Sequence[float],
    seed: int,
    draws: int,
) -> pd.DataFrame:
    frames: list[pd.DataFrame] = []
    n = draws if profile.randomized else 1
    keys = [(seed, name, "clean") for name in images.ids]
    with as_they_are():
        clean = score(profile.twin, images.pixels, images.labels, no_targets(images.labels), keys, n)
    for eps in sorted(epsilons):
        # What has fallen at a smaller ε has fallen at this one.
        before = pd.concat([own, *frames], ignore_index=True)
        left = standing(before, scope.norm, eps, profile.randomized)
        chances = torch.tensor([float(left[str(name)]) for name in images.ids])
        alive = torch.ones(len(chances), dtype=torch.bool) if profile.randomized else chances > 0.5
        parts = []
        if alive.any():
            target = images.only(frozenset(name for name, stands in zip(images.ids, alive.tolist()) if stands))
            outcome, missed = _ladder(attempts, profile, target, eps, norm(scope.norm), seed)
            none = no_targets(target.labels)
            theirs = Predicted(*(column[alive] for column in vars(clean).values()))
            attack = with_settings(attempts[0].attack, eps=eps)
            scored = (target, none, [outcome], [eps], theirs, seed, n, profile.randomized)
            rows, _ = or_reason(lambda: records_of(part, profile.twin, attack, *scored))  # noqa: B023
            if rows is None:  # what it found could not be judged
                missed, scored = np.ones_like(missed), (target, none, [untouched(target)], *scored[3:])
                with as_they_are():
                    rows = records_of(part, profile.twin, attack, *scored)
            parts += [rows[~missed], unattacked(rows[missed])]
        if not alive.all():
            fallen = {str(name) for name, stands in zip(images.ids, alive.tolist()) if not stands}
            parts.append(_already_fooled(before, scope, fallen, eps, part))
        frames.append(pd.concat(parts, ignore_index=True))
    return pd.concat(frames, ignore_index=True)


def _ladder(
    attempts: list[Attempt], profile: Profile, images: Images, eps: float, norm: Norm, seed: int
) -> tuple[Outcome, np.ndarray]:
    """Each attempt on what the ones before it left standing, and which images (N,) none fooled and one raised on: these it
    has not attacked."""
    found, n = images.pixels.clone(), len(images.ids)
    forwards, backwards, stands = torch.zeros(n), torch.zeros(n), torch.ones(n, dtype=torch.bool)
    missed = torch.zeros(n, dtype=torch.bool)
    for attempt in attempts:
        rows = stands.nonzero().flatten()
        if not len(rows):
            break
        at = rows.to(found.device)
        pixels, labels, ids = images.pixels[at], images.labels[at], [images.ids[i] for i in rows.tolist()]
        try:
            (outcome,) = with_settings(attempt.attack, eps=eps).sweep(
                attempt.surrogate, pixels, labels, [eps], seed=seed, ids=ids, mask=images.mask
            )
            keys = [(seed, name, "ladder", attempt.name, eps) for name in ids]
            grid = bool(profile.settings.get("grid"))
            examples = (outcome.adversarial, pixels, labels, keys, eps, norm, 1, grid, images.mask)
            moved, right, _ = verified_examples(profile.twin, *examples)
        except Exception as error:  # it worked on the sample; on what it fails here the others have their turn
            if is_bad_input(error):
                raise
            missed[rows] = True
            continue
        forwards[rows] += outcome.forwards.cpu()
        backwards[rows] += outcome.backwards.cpu()
        fooled = (right < 0.5) & norm.inside(moved, pixels, eps).cpu()
        take = fooled if not profile.randomized else torch.ones_like(fooled)
        found[at[take.to(at.device)]] = moved[take.to(at.device)]
        stands[rows[fooled]] = profile.randomized
    return Outcome(found, forwards, backwards), (missed & stands).numpy()


def _already_fooled(before: pd.DataFrame, scope: Scope, names: set[str], eps: float, part: Part) -> pd.DataFrame:
    """For images that an earlier attack or the clean image showed to be misclassified, the row that shows it, at this ε."""
    rows = before[before["image"].isin(names)]
    ours = (rows["norm"] == scope.norm) & (within(rows["eps"], eps)) & rows["verified"]
    ranked = rows.assign(other=~ours).sort_values(["other", "preliminary", "eps"], kind="stable")
    wrong = ranked.groupby("image", sort=False).head(1).copy()
    # Wrong from the start, and not by any attack (another's row, as that of what broke its budget, is about the clean image
    # only): the clean image is the example.
    clean = (wrong["preliminary"] > 0.5) | wrong.pop("other")
    wrong.loc[clean, "prediction"] = wrong.loc[clean, "clean_prediction"]
    wrong.loc[clean, "confidence"] = wrong.loc[clean, "clean_confidence"]
    wrong.loc[clean, ["correct", "preliminary", "hit", "distance"]] = 0.0
    return wrong.assign(
        threat=part.case.threat,
        attack=part.attack,
        norm=scope.norm,
        eps=eps,
        target=np.int64(NO_TARGET),
        hit=0.0,
        forwards=0.0,
        backwards=0.0,
        verified=True,
    )
