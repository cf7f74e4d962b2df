"""Examine one model under attack: what its gradients are worth, and what a stronger attack would find."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...attacks.core.base import Attack
from ...attacks.pgd import PGD
from ...budgets import eps_text
from ...models.deadline import as_time_allows
from ...norms import norm
from ...results.checks.counting import failed_attacks
from ...results.findings import Finding
from ..profile import Profile
from .gradients import BY_LABELS, FLAT_SCORES, gradient_findings
from .neighborhood import neighborhood_findings
from .registry import attack_check
from .search import (
    GRADIENT,
    NOTABLE,
    Attempt,
    Search,
    Trial,
    best_trial,
    by_scores,
    decision_attempts,
    gradient_attempts,
    longer_attempts,
    notable,
    other_attempts,
    smooth_attempts,
    turned_attempts,
    with_settings,
)
from .state import memory_findings

CONVERGED = 0.01  # what doubling the steps may still take off
JAGGED = 0.3  # a median cosine between neighboring gradients below this means that they change from point to point
FULL = 0.1  # accuracy that an attack with ε = 1, which allows any image, may leave
MANY = 4  # times the images of the examination: up to so many are all attacked by its gradient attacks
LED = 0.5  # share of the way that a gradient leads where it says something of which pixels to change
FLAT = 0.05  # share of images with flat scores from which labels alone are tried
UNANSWERED = {"converged", "black-box", "attack-failed"}  # which no attack on more images answers, unless nothing is left
EXACT = {"gradient-saturated"}  # alarms whose cause a surrogate takes away without a rest


@dataclass(frozen=True)
class Examination:
    """findings, and the attempts whose numbers should stand in place of the evaluation's: [] where its attacks were enough."""

    findings: list[Finding]
    attempts: list[Attempt]


def examine(search: Search, profile: Profile) -> Examination:
    """Search for what was missed; `search.left` is what the evaluation's own attacks left."""
    n, before = len(search.left), search.accuracy
    findings = neighborhood_findings(profile.around, n) + memory_findings(profile.memory)
    findings += gradient_findings(profile.gradients) if profile.gradients is not None else []
    findings += _not_differentiable(profile, n)
    if profile.around.ignores:
        return Examination([*findings, *_nothing_to_attack(n)], [])
    if not n or search.eps <= 0:
        return Examination(findings, [])
    hidden = any(finding.severity == "alarm" for finding in findings)
    if not profile.blind:
        for attempt in gradient_attempts(search, profile.classes):
            search.run(attempt)
        findings += _weaker(search, before)
    followed, flat = search.accuracy, _share(_flat_scores(profile)) > FLAT
    turn = float(profile.gradients.turn.nanmedian()) if profile.gradients is not None else 1.0
    true = profile.gradients is not None and profile.true and not hidden and turn >= JAGGED
    aside = [] if profile.blind else turned_attempts(search, profile.classes)
    others = [search.run(attempt) for attempt in [*aside, *other_attempts(search, flat or profile.blind, true)]]
    if profile.blind:
        findings += _weaker(search, before)
        findings += _nothing_leads(search, profile) if flat else []
    else:
        astray = _without_gradients(search, others, followed)
        findings += astray
        if any(finding.severity == "alarm" for finding in astray):  # the scores may lead no farther than the gradients
            _by_labels(search)
            hidden = True

    if not search.randomized and not profile.blind and (hidden or turn < JAGGED or not profile.true):
        findings += _jagged(search, [search.run(attempt) for attempt in smooth_attempts(search)], turn)
    if not profile.blind:
        findings.append(_converged(search))
    # Where a mask holds most of an image back, the largest ε does not allow any image.
    around = [_unlimited(search, flat)] if search.mask is None and (not profile.blind or profile.failure) else []
    findings += around
    if around and around[0].severity == "alarm":  # scores that rise on the way to the boundary mislead all that follow them
        _by_labels(search)

    findings += attack_check.findings(search=search, profile=profile)
    findings += _raised(search)
    missed = before - search.accuracy
    wrong = any(finding.severity == "alarm" for finding in findings)
    found_more = missed * n >= 1 or wrong or search.randomized
    attempts = _useful(search) if found_more else _for_the_rest(search)
    if not found_more or not attempts:
        return Examination(findings, attempts)
    gone_around = search.accuracy == 0 or _beats_guessing(search) and all(f.severity == "passed" for f in around)
    return Examination([_answered(search, profile, f, gone_around) for f in findings], attempts)


def _by_labels(search: Search) -> None:
    """What labels alone find, unless that was tried."""
    if not any(trial.attempt.way == "labels" and not trial.attempt.few for trial in search.trials):
        for attempt in decision_attempts(search):
            search.run(attempt)


def _answered(search: Search, profile: Profile, finding: Finding, gone_around: bool) -> Finding:
    """The finding, marked as answered where the attempts, made on every image, take its cause away. An attack that has not
    converged would find more with more steps, unless no image is left. An alarm is answered only by an attack that beats
    random points and leaves nothing at ε = 1."""
    if finding.severity not in ("alarm", "warning") or finding.id in UNANSWERED and search.accuracy > 0:
        return finding
    if finding.severity == "warning":
        return replace(finding, answered=True)
    if finding.id == "stateful":
        return finding
    exact = gone_around and profile.true and finding.id in EXACT
    return replace(finding, answered=gone_around, exact=exact)


def _flat_scores(profile: Profile) -> Tensor:
    """Whose scores are flat, (n,) bool."""
    known = profile.flat_scores if profile.gradients is None else profile.gradients.flat
    return torch.zeros(0, dtype=torch.bool) if known is None else known


def _nothing_leads(search: Search, profile: Profile) -> list[Finding]:
    """A black box with flat scores, in a norm where labels alone were not followed either: a search by scores was blind."""
    if any(trial.attempt.way == "labels" and not trial.failure for trial in search.trials):
        return []
    flat = _flat_scores(profile)
    evidence = {"images": len(flat), "affected": int(flat.sum())}
    message = f"{FLAT_SCORES}, and no attack here follows labels alone in {search.geometry.name}"
    remedy = f"{BY_LABELS}; in l_inf and l2 that is done here."
    return [Finding("scores-flat", "alarm", f"{message} ({int(flat.sum())} of {len(flat)} images)", evidence, remedy)]


def _share(rows: Tensor) -> float:
    return float(rows.float().mean()) if len(rows) else 0.0


def _beats_guessing(search: Search) -> bool:
    """Whether what was found leaves notably less than a few random points of the ball do."""
    guessed = search.guesses()
    return search.accuracy <= guessed - min(NOTABLE, guessed / 2) or search.accuracy == 0


def _not_differentiable(profile: Profile, n: int) -> list[Finding]:
    """A black box, or a module that fails when somebody differentiates it: nobody has seen its gradients."""
    if profile.failure:
        around = "by scores and labels alone" if profile.blind else "through a surface that can be differentiated"
        return [
            Finding(
                "gradient-fails",
                "alarm",
                f"The model cannot be differentiated ({profile.failure}): it was attacked {around}",
                {"images": n},
                "Make the forward pass differentiable: no in-place writes into what requires a gradient, no inner graph kept.",
            )
        ]
    if not profile.blind:
        return []
    return [
        Finding(
            "black-box",
            "note",
            "The model gives no gradients: attacks could only ask it for scores or labels, and who has its weights may do "
            "better",
            {"images": n},
            "Where the weights are at hand, evaluate the model as a torch module; otherwise say that the attacks were "
            "black-box.",
        )
    ]


def _nothing_to_attack(n: int) -> list[Finding]:
    """Of a model that ignores its input: no attack can change what it predicts, so there is nothing to look for."""
    message = f"No attack can find more: the predictions do not depend on the image ({n} images)"
    return [Finding("attack-strength", "passed", message, {"images": n})]


def _raised(search: Search) -> list[Finding]:
    """What the model raised while it was attacked: an attack that it ends by an exception shows nothing of its strength."""
    n = len(search.left)
    return failed_attacks({name: {"images": n, "reason": reason} for name, reason in search.raised.items()})


def _weaker(search: Search, before: float) -> list[Finding]:
    """The attacks that were run against escrime's own; [] where none of these came to an end."""
    if all(trial.failure for trial in search.trials):
        return []
    n, after = len(search.left), search.accuracy
    evidence = {"images": n, "eps": search.eps, "before": round(before, 4), "after": round(after, 4), **_trials(search.trials)}
    if not notable(before - after, n):
        message = f"Stronger attacks find no more than those that were run ({n} images)"
        return [Finding("attack-strength", "passed", message, evidence)]
    return [
        Finding(
            "attack-strength",
            "warning",
            f"The attacks that were run are too weak: they leave {before:.1%} of {n} images right at "
            f"ε = {eps_text(search.eps)}, a stronger one {after:.1%}",
            evidence,
            "Believe the stronger attack's number; run AutoAttack, not single steps alone.",
        )
    ]


def _without_gradients(search: Search, others: list[Trial], followed: float) -> list[Finding]:
    """What ignores the model's gradient must not find more than what follows it; [] where none of it came to an end."""
    if all(trial.failure for trial in others):
        return []
    n, best = len(search.left), max(others, key=lambda trial: trial.gain)
    gain, who = best.gain, best.attempt.name
    evidence = {"images": n, "eps": search.eps, "gradient attacks leave": round(followed, 4), **_trials(others)}
    if not notable(gain, n):
        message = f"Nothing that ignores the gradient (scores, transfer, random points) finds more ({n} images)"
        return [Finding("gradient-misleads", "passed", message, evidence)]
    if search.geometry.grain and _leads(search, followed, gain):
        message = f"{who} takes {gain:.1%} more of {n} images: a gradient leads towards a set of pixels, not to the best one"
        return [Finding("gradient-misleads", "note", message, evidence)]
    return [
        Finding(
            "gradient-misleads",
            "alarm",
            f"{who} takes {gain:.1%} of {n} images that every attack along the gradient left standing: the gradient misleads",
            evidence,
            "Do not quote gradient attacks alone for this model; what does not follow its gradient has the number that stands.",
        )
    ]


def _leads(search: Search, followed: float, gain: float) -> bool:
    """Whether the gradient led most of the way from what random points leave to what is left without it. Which pixels to change
    is no question of slopes alone: where they are counted, a search over sets of them finds more on any model."""
    guessed = search.guesses()
    return guessed - followed >= LED * (guessed - followed + gain)


def _jagged(search: Search, trials: list[Trial], turn: float) -> list[Finding]:
    n, gain = len(search.left), sum(trial.gain for trial in trials)
    if not notable(gain, n):
        return []
    return [
        Finding(
            "gradient-jagged",
            "alarm",
            f"Averaging the gradient over the neighborhood takes {gain:.1%} more of {n} images: the surface is too jagged for "
            "single gradients",
            {"images": n, "median turn": round(turn, 4), **_trials(trials)},
            "Attack with gradients averaged over noise around the point, and with scores.",
        )
    ]


def _converged(search: Search) -> Finding:
    """Twice the steps (and noise draws) until it changes nothing any more."""
    n, before, gain, last = len(search.left), search.accuracy, 0.0, None
    little = max(CONVERGED, 0.99 / n)
    for attempt in longer_attempts(search):
        trial = search.run(attempt)
        if trial.failure:  # the doublings before it say what they say
            break
        gain, last = trial.gain, attempt
        if gain < little:
            break
    if last is None:
        return Finding(
            "converged",
            "note",
            "Whether twice the steps would find more was not tried",
            {"images": n, "eps": search.eps},
            "Give the checks at least one doubling, for which they take the time of their gradient attacks once more.",
        )
    evidence = {"images": n, "eps": search.eps, "before": round(before, 4), "after": round(search.accuracy, 4)}
    evidence["last doubling"] = round(gain, 4)
    evidence |= _trials([trial for trial in search.trials if trial.attempt.way == "longer"])
    if gain < little:
        message = f"Twice the steps{' and noise draws' if search.randomized else ''} take {gain:.1%} more off ({last.name})"
        return Finding("converged", "passed", message, evidence)
    return Finding(
        "converged",
        "warning",
        f"The attack has not converged: {last.name} still takes {gain:.1%} more off {n} images",
        evidence,
        "Give the checks more doublings, or more steps to the attack, until the number stays.",
    )


def _unlimited(search: Search, flat: bool) -> Finding:
    """With the largest ε, 1 in l_inf, every image is allowed, so nothing may stand: under the attack that led farthest, or by
    labels alone where scores are flat."""
    geometry = norm(search.norm)
    eps = geometry.diameter(search.images)
    at = geometry.said(eps)
    best = best_trial(search, GRADIENT)
    pgd = PGD(eps, steps=20, norm=search.norm, early_stop=not search.randomized or search.effort.eot > 1)
    tried: list[Attack] = [replace(pgd, eot=search.effort.eot) if search.randomized else pgd]
    surrogates = [best.attempt.surrogate if best is not None else search.surrogate]
    if best is None or flat:
        tried += [attack] if (attack := by_scores(search.norm, eps, 100)) is not None else []
        tried += [with_settings(attempt.attack, eps=eps, queries=200) for attempt in decision_attempts(search)]
        surrogates += [search.twin] * (len(tried) - len(surrogates))
    left: list[float] = []
    for attack, surrogate in zip(tried, surrogates, strict=True):
        name, every = f"the attack with {at}", torch.arange(len(search.left))
        with as_time_allows(name):
            ask = partial(search.after, "unlimited", attack, surrogate, every, eps)
            stands = search.unless_it_raises(name, ask)
            left += [] if stands is None else [float(stands.mean())]
        if left and min(left) <= FULL:
            break
    if not left:
        message = f"It was not seen whether an attack with {at}, which allows any image, leaves any: it failed or had no time"
        return Finding("full-success", "note", message, {"images": len(search.images)})
    stand = min(left)
    evidence = {"images": len(search.left), f"accuracy at {at}": round(stand, 4)}
    if stand <= FULL:
        return Finding("full-success", "passed", f"With {at}, where any image is allowed, {stand:.1%} stand", evidence)
    return Finding(
        "full-success",
        "alarm",
        f"With {at}, any image is allowed, yet the attack leaves {stand:.1%} right: it does not find what must exist",
        evidence,
        "The gradients lead nowhere; see the other checks for why.",
    )


def _useful(search: Search) -> list[Attempt]:
    """The attempts to make on every image: on a deterministic model all that took something, else the best one."""
    if search.randomized:
        best = best_trial(search)
        return [] if best is None else [best.attempt]
    took = [trial.attempt for trial in search.trials if trial.gain > 0]
    if not {"scores", "labels"} & {attempt.way for attempt in took}:
        tried = [trial.attempt for trial in search.trials if trial.attempt.way == "gradient" and not trial.failure]
        took += [attempt for attempt in tried if attempt not in took]
    return took


def _for_the_rest(search: Search) -> list[Attempt]:
    """Where the sample shows nothing more, it may still be one image in twenty of the others: the gradient attacks go over all
    of them, where they are few enough to cost no more than a few examinations."""
    if not len(search.left) < search.total <= MANY * len(search.left):
        return []
    return [trial.attempt for trial in search.trials if trial.attempt.way == "gradient" and not trial.failure]


def _trials(trials: list[Trial]) -> dict:
    return {
        **{f"{trial.attempt.name} leaves": round(trial.accuracy, 4) for trial in trials if not trial.failure},
        **{f"{trial.attempt.name} fails": trial.failure for trial in trials if trial.failure},
    }
