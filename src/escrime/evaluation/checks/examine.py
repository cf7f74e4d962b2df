"""Examine one model under attack: what its gradients are worth, and what a stronger attack would find."""

from dataclasses import dataclass, replace

import torch

from ...attacks import PGD
from ..approach import Approach
from .finding import Finding
from .gradients import gradient_findings
from .search import (
    Quarry,
    Stage,
    Trial,
    decision_stages,
    gradient_stages,
    longer_stages,
    other_stages,
    smooth_stages,
)

NOTABLE = 0.05  # a share of the images from which a difference counts,
FEWEST = 3  # and a number of images
CONVERGED = 0.01  # what doubling the steps may still take off
JAGGED = 0.3  # a median cosine between neighboring gradients below this says that they change from point to point
FULL = 0.1  # accuracy that an attack with ε = 1, which allows any image, may leave


@dataclass(frozen=True)
class Examination:
    """findings, and the stages whose numbers should stand in place of the evaluation's: [] where its attacks were enough."""

    findings: list[Finding]
    stages: list[Stage]


def examine(quarry: Quarry, approach: Approach) -> Examination:
    """Search for what was missed on the quarry, whose `left` is what the evaluation's own attacks left."""
    n, before = len(quarry.left), quarry.accuracy
    findings = gradient_findings(approach.gradients, approach.settings) if approach.gradients is not None else []
    hidden = any(finding.severity == "alarm" for finding in findings)
    if approach.blind:
        return _from_outside(quarry, before)
    if not n or quarry.eps <= 0:
        return Examination(findings, [])

    for stage in gradient_stages(quarry, approach.classes):
        quarry.run(stage)
    findings.append(_weaker(quarry, before))
    followed = quarry.accuracy
    others = [quarry.run(stage) for stage in other_stages(quarry)]
    findings.append(_without_gradients(quarry, others, followed))
    hidden |= findings[-1].severity == "alarm"

    turn = approach.gradients.turn.nanmedian() if approach.gradients is not None else torch.tensor(1.0)
    if not quarry.randomized and (hidden or turn < JAGGED):
        smooth = [quarry.run(stage) for stage in smooth_stages(quarry)]
        findings += _jagged(quarry, smooth, float(turn))
    findings.append(_converged(quarry))
    findings.append(_unlimited(quarry))

    missed = before - quarry.accuracy
    wrong = any(finding.severity == "alarm" for finding in findings)
    stages = _useful(quarry) if missed * n >= 1 or wrong or quarry.randomized else []
    if stages:
        findings = [replace(f, answered=True) if _answers(quarry, f) else f for f in findings]
    return Examination(findings, stages)


def _answers(quarry: Quarry, finding: Finding) -> bool:
    """Whether running the stages on every image answers a finding. What has not converged would fall further with more of
    them, unless nothing is left."""
    return finding.severity in ("alarm", "warning") and (finding.id != "converged" or quarry.accuracy == 0)


def _from_outside(quarry: Quarry, before: float) -> Examination:
    """A black box: what more questions find, and that nobody has seen its gradients."""
    n = len(quarry.left)
    unseen = Finding(
        "black-box",
        "note",
        "The model gives no gradients: attacks could only ask it for answers, and who has its weights may do better",
        {"images": n},
        "Where the weights are at hand, evaluate the model as a torch module; otherwise say that the attacks were black-box.",
    )
    if not n or quarry.eps <= 0:
        return Examination([unseen], [])
    for stage in [*other_stages(quarry), *decision_stages(quarry)]:
        quarry.run(stage)
    stages = _useful(quarry) if (before - quarry.accuracy) * n >= 1 else []
    strength = _weaker(quarry, before)
    return Examination([unseen, replace(strength, answered=bool(stages) and strength.severity != "passed")], stages)


def _notable(gain: float, n: int) -> bool:
    return gain >= NOTABLE and gain * n >= FEWEST - 0.5


def _weaker(quarry: Quarry, before: float) -> Finding:
    """The attacks that were run against escrime's own."""
    n, after = len(quarry.left), quarry.accuracy
    evidence = {"images": n, "eps": quarry.eps, "before": round(before, 4), "after": round(after, 4), **_trials(quarry.trials)}
    if not _notable(before - after, n):
        return Finding(
            "attack-strength",
            "passed",
            f"Stronger attacks find no more than those that were run ({n} images)",
            evidence,
        )
    return Finding(
        "attack-strength",
        "warning",
        f"The attacks that were run are too weak: they leave {before:.1%} of {n} images right at ε = {quarry.eps:.4g}, a "
        f"stronger one {after:.1%}",
        evidence,
        "Believe the stronger attack's number; run AutoAttack, not single steps alone.",
    )


def _without_gradients(quarry: Quarry, others: list[Trial], followed: float) -> Finding:
    """What ignores the model's gradient must not find more than what follows it."""
    n, best = len(quarry.left), max(others, key=lambda trial: trial.gain)
    gain, who = best.gain, best.stage.name
    evidence = {"images": n, "eps": quarry.eps, "gradient attacks leave": round(followed, 4), **_trials(others)}
    if not _notable(gain, n):
        message = f"Nothing that ignores the gradient (scores, transfer, random points) finds more ({n} images)"
        return Finding("gradient-misleads", "passed", message, evidence)
    return Finding(
        "gradient-misleads",
        "alarm",
        f"{who} takes {gain:.1%} of {n} images that every attack along the gradient left standing: the gradient misleads",
        evidence,
        "Do not quote gradient attacks alone for this model; what does not follow its gradient has the number that stands.",
    )


def _jagged(quarry: Quarry, trials: list[Trial], turn: float) -> list[Finding]:
    n, gain = len(quarry.left), sum(trial.gain for trial in trials)
    if not _notable(gain, n):
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


def _converged(quarry: Quarry) -> Finding:
    """Twice the steps (and noise draws) until it changes nothing any more."""
    n, before, gain, last = len(quarry.left), quarry.accuracy, 0.0, None
    for last in longer_stages(quarry):
        gain = quarry.run(last).gain
        if gain < max(CONVERGED, 0.99 / n):
            break
    if last is None:
        return Finding(
            "converged",
            "note",
            "Whether twice the steps would find more was not tried",
            {"images": n, "eps": quarry.eps},
            "Give the checks at least one doubling, for which they take the time of their gradient attacks once more.",
        )
    evidence = {"images": n, "eps": quarry.eps, "before": round(before, 4), "after": round(quarry.accuracy, 4)}
    evidence["last doubling"] = round(gain, 4)
    evidence |= _trials([trial for trial in quarry.trials if trial.stage.kind == "longer"])
    if gain < max(CONVERGED, 0.99 / n) or not _notable(gain, n):
        message = f"Twice the steps{' and noise draws' if quarry.randomized else ''} take {gain:.1%} more off ({last.name})"
        return Finding("converged", "passed" if gain < max(CONVERGED, 0.99 / n) else "note", message, evidence)
    return Finding(
        "converged",
        "warning",
        f"The attack has not converged: {last.name} still takes {gain:.1%} more off {n} images",
        evidence,
        "Give the checks more doublings, or more steps to the attack, until the number stays.",
    )


def _unlimited(quarry: Quarry) -> Finding:
    """With ε = 1 every image is allowed, so nothing may stand."""
    attack = PGD(1.0, steps=20, early_stop=not quarry.randomized, eot=quarry.effort.eot if quarry.randomized else 1)
    if quarry.norm == "l2":
        attack = replace(attack, norm="l2", eps=float(quarry.images[0].numel()) ** 0.5)
    moved = attack(quarry.surface, quarry.images, quarry.labels, seed=quarry.seed, ids=quarry.ids)
    stand = float(quarry.judge(moved, "unlimited").mean())
    evidence = {"images": len(quarry.left), "accuracy at ε = 1": round(stand, 4)}
    if stand <= FULL:
        return Finding("full-success", "passed", f"With ε = 1, where any image is allowed, {stand:.1%} stand", evidence)
    return Finding(
        "full-success",
        "alarm",
        f"With ε = 1 any image is allowed, yet the gradient attack leaves {stand:.1%} right: it does not find what must exist",
        evidence,
        "The gradients lead nowhere; see the other checks for why.",
    )


def _useful(quarry: Quarry) -> list[Stage]:
    """The stages to run on every image: on a deterministic model all that took something, else the best one."""
    if quarry.randomized:
        best = min(quarry.trials, key=lambda trial: trial.accuracy)
        return [best.stage]
    took = [trial.stage for trial in quarry.trials if trial.gain > 0]
    kinds = {stage.kind for stage in took}
    if "scores" not in kinds:
        took += [trial.stage for trial in quarry.trials if trial.stage.kind == "gradient" and trial.stage not in took]
    return took


def _trials(trials: list[Trial]) -> dict:
    return {f"{trial.stage.name} leaves": round(trial.accuracy, 4) for trial in trials}
