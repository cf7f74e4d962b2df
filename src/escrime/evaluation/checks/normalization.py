"""Whether a model is clearly more often right when its images are fed in another of the usual ways."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...models.normalized import Normalized
from ...models.running import Classifier
from ...results.findings import Finding
from ...results.statistics import holm, mcnemar, signed_rank
from .feeding import Preprocessing, identity, measured, normalizing, numbers, replaced, swapped, usual

CERTAIN = 0.001  # p from which another way is better, after correction for the ways and for looking twice
CLEARLY = 0.02  # how much better, as a share of the images
WITNESS = (
    0.02,
    0.05,
)  # two-sided p (one-sided .01) and gain of the accuracy alone, where the likelihood of the labels is what makes it certain
SUGGESTIVE = 0.05  # p from which more images are asked for
FIRST, MOST = 16, 256  # images of the first look, which only drops what is worse, and of the last
LOOKS = 2
FILLED = (0.1, 0.9)  # of the range of pixels: images that fill a share between these may simply be of low contrast
ENDS = 0.001  # share of the pixels at either end that does not count for it

Predict = Callable[[Tensor], Tensor]
More = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Scores:
    """What a way of feeding scores on each image: right (N,), and the log-probability of the label (N,) at the temperature
    that suits it best, so that no way gains by being likelier."""

    right: np.ndarray
    likelihood: np.ndarray

    @property
    def count(self) -> int:
        return int(self.right.sum())


def scores(logits: Tensor, labels: Tensor) -> Scores | None:
    """None for logits that are not finite."""
    logits, labels = logits.double().cpu(), labels.cpu()
    if not logits.isfinite().all():
        return None
    size = logits.std().clamp_min(1e-9)
    heats = torch.logspace(-1.5, 1.5, 25, dtype=torch.float64) / size
    tried = [(logits * heat).log_softmax(1).gather(1, labels[:, None])[:, 0] for heat in heats]
    return Scores((logits.argmax(1) == labels).numpy(), max(tried, key=lambda found: float(found.mean())).numpy())


@dataclass(frozen=True)
class Gain:
    """How much better another way is: the difference in accuracy, and one-sided p of accuracy and of likelihood."""

    share: float
    accuracy: float
    likelihood: float


def gain(other: Scores, now: Scores) -> Gain:
    share = float(other.right.mean() - now.right.mean())
    more = other.likelihood - now.likelihood
    likely = signed_rank(more) if np.abs(more).max(initial=0) > 1e-9 else 1.0
    return Gain(share, mcnemar(other.right, now.right) if share > 0 else 1.0, likely)


def input_range(
    model: Classifier, images: Tensor, labels: Tensor, logits: Tensor, predict: Predict, more: More | None = None
) -> list[Finding]:
    """No other of the usual ways to feed the images may be clearly better.

    logits: of the images as they are. ask: images → logits. more: number → that many (images, labels) of the set.
    The first images only drop ways that are worse; where the rest suggests that one is better, more images decide.
    """
    found = measured(model, images)
    tried = _ways(images.shape[1], found)
    now = scores(logits, labels)
    if now is None:
        return []
    begun = scores(logits[:FIRST], labels[:FIRST]) or now
    looked: dict[str, int] = {}
    open_ways: dict[str, Preprocessing] = {}
    for name, change in tried.items():
        first = _scored(predict, change, images[:FIRST], labels[:FIRST])
        if first is None:  # refuses such images, so it was not made for them
            continue
        looked[name] = first.count
        likelier = first.likelihood.mean() > begun.likelihood.mean() and 2 * first.count >= begun.count
        if first.count + 1 >= begun.count or likelier:
            open_ways[name] = change
    tries = _all(predict, open_ways, images, labels)
    unclear = [name for name, own in tries.items() if _suggests(gain(own, now))]
    if unclear and more is not None:
        wide, wide_labels = more(MOST)
        again = scores(predict(wide), wide_labels) if len(wide) > len(images) else None
        if again is not None:
            images, labels, now = wide, wide_labels, again
            tries = _all(predict, {name: open_ways[name] for name in unclear}, images, labels)
    gains = {name: gain(own, now) for name, own in tries.items()}
    rest = [1.0] * (len(looked) - len(gains))  # dropped, and yet tried
    accuracy, likelihood = (
        LOOKS * holm([*(getattr(g, kind) for g in gains.values()), *rest]) for kind in ("accuracy", "likelihood")
    )
    clear = {
        name: tries[name].count
        for name, p, likely in zip(gains, accuracy, likelihood)
        if _clear(gains[name], float(p), float(likely))
    }
    stretched = _stretched(images) if clear else None
    better = None if stretched is None else _scored(predict, stretched, images, labels)
    used = f"fed with {found}" if found is not None else "how its pixels are normalized cannot be seen"
    evidence = {
        "images": len(images),
        "fed": None if found is None else str(found),
        "right": {"as they are": now.count} | {name: own.count for name, own in tries.items()},
        f"right of the first {min(FIRST, len(images))}": looked,
        "p": {name: min(1.0, float(p)) for name, p in zip(gains, accuracy)},
    }
    if not clear:
        message = f"None of {len(looked)} other ways to feed the {len(images)} images is clearly better ({used})"
        return [Finding("input-range", "passed", message, evidence)]
    if better is not None and _explains(better, now, [tries[name] for name in clear]):
        message = (
            f"The {len(images)} images are of low contrast: {better.count} are right stretched over the whole range of pixels, "
            f"{now.count} as they are ({used}), so that another normalization seems to suit them better"
        )
        remedy = "Nothing to mend if such images are what the model will see; otherwise look at how they were made."
        return [Finding("input-range", "note", message, evidence | {"right stretched": better.count}, remedy)]
    name = max(clear, key=lambda key: (clear[key], tries[key].likelihood.mean()))
    cause, remedy = _explained(model, name, tried[name], found)
    message = f"{clear[name]} of {len(images)} images are right {name}, {now.count} as they are ({used}): {cause}"
    return [Finding("input-range", "alarm", message, evidence, remedy)]


def _suggests(found: Gain) -> bool:
    return found.share >= 0 and min(found.accuracy, found.likelihood) < SUGGESTIVE


def _clear(found: Gain, accuracy: float, likelihood: float) -> bool:
    if found.share >= CLEARLY and accuracy < CERTAIN:
        return True
    return likelihood < CERTAIN and found.accuracy < WITNESS[0] and found.share >= WITNESS[1]


def _stretched(images: Tensor) -> Preprocessing | None:
    """All images alike, spread over [0, 1]; None where they fill it, or so little of it that they were scaled twice."""
    values = images.double().flatten().sort().values
    low, high = (float(values[int(end * (len(values) - 1))]) for end in (ENDS, 1 - ENDS))
    channels = images.shape[1]
    return normalizing([low] * channels, [high - low] * channels) if FILLED[0] < high - low < FILLED[1] else None


def _explains(stretched: Scores, now: Scores, clear: list[Scores]) -> bool:
    """Whether stretching the images, fed as they are now, does most of what the ways that are clearly better do: then it is
    the images that are at odds with the network, and nothing is known against its normalization."""
    most = max(gain(way, now).share for way in clear)
    still = [gain(way, stretched) for way in clear]
    left = any(_clear(rest, LOOKS * rest.accuracy, LOOKS * rest.likelihood) for rest in still)
    return gain(stretched, now).share >= most / 2 and not left


def _scored(predict: Predict, change: Preprocessing, images: Tensor, labels: Tensor) -> Scores | None:
    try:
        return scores(predict(change(images)), labels)
    except Exception:  # a model that refuses such images was not made for them
        return None


def _all(predict: Predict, ways: dict[str, Preprocessing], images: Tensor, labels: Tensor) -> dict[str, Scores]:
    found = {name: _scored(predict, change, images, labels) for name, change in ways.items()}
    return {name: own for name, own in found.items() if own is not None}


def _ways(channels: int, found: Preprocessing | None) -> dict[str, Preprocessing]:
    """name → how to change the images: first what may stand before the model as it is, then what makes each of the usual
    ways of what reaches its weights."""
    known = usual(channels)
    ways = {"as 0–255": known["pixels in 0–255"], "scaled to [−1, 1]": known["pixels in [−1, 1]"]}
    if channels == 3:
        imagenet = known["ImageNet's mean and std"]
        ways["normalized with ImageNet's mean and std"] = imagenet
        ways["un-normalized with ImageNet's mean and std"] = imagenet.inverse()
        ways["with red and blue swapped"] = swapped(identity(3))
    # Where nothing can be seen inside, ImageNet's normalization is the likeliest to be there.
    inside = (
        [found] if found is not None else [identity(channels), *([known["ImageNet's mean and std"]] if channels == 3 else [])]
    )
    for before in inside:
        for name, target in known.items():
            at_odds = "" if found is not None or before.like(identity(channels)) else " in place of ImageNet's mean and std"
            ways.setdefault(f"fed as {name}{at_odds}", before.inverse().after(target))
    distinct: dict[str, Preprocessing] = {}
    for name, change in ways.items():
        if not change.like(identity(channels)) and not any(change.like(other) for other in distinct.values()):
            distinct[name] = change
    return distinct


def _explained(model: Classifier, name: str, change: Preprocessing, found: Preprocessing | None) -> tuple[str, str]:
    """What it means that a way is better, and what to do."""
    wanted = None if found is None else found.after(change)
    new, plain = replaced(model, change), change.order == tuple(range(len(change.order)))
    remedy = (
        f"Set it: --mean {numbers(new.mean)} --std {numbers(new.std)} on the command line, in Python "
        f"escrime.Normalized(network, mean={_python(new.mean)}, std={_python(new.std)})"
        if new is not None
        else ""
    )
    raw = found is None or found.like(identity(len(found.gain)))
    causes = {
        "as 0–255": "the model expects 0–255",
        "scaled to [−1, 1]": "the model expects [−1, 1]",
        "normalized with ImageNet's mean and std": "the model lacks its normalization" if raw else None,
        "with red and blue swapped": "the model expects BGR",
    }
    twice = name.startswith("un-normalized") and (found is None or not _once(found))
    if twice:
        cause = "the model normalizes twice"
        remedy = "Keep one normalization: take escrime.Normalized, or the one inside the network, away."
    else:
        cause = causes.get(name) or "its weights want another normalization" + ("" if wanted is None else f": {wanted}")
    if not plain:
        scale = (
            "" if wanted is None else f", then feed its weights with mean {numbers(wanted.mean)} and std {numbers(wanted.std)}"
        )
        return cause, f"Swap the channels in a first layer: images.flip(1){scale}."
    if twice:
        return cause, remedy
    if not remedy:
        return (
            cause,
            "Give its first layer the normalization that its weights were trained with"
            + ("." if wanted is None else f": {wanted}."),
        )
    place = "in place of the one that is there" if isinstance(model, Normalized) else "in front of the network"
    return cause, f"{remedy}, {place}."


def _once(found: Preprocessing) -> bool:
    """Whether it is one of the usual ways, rather than two of them after another."""
    return any(found.like(known) for known in usual(len(found.gain)).values())


def _python(values: tuple[float, ...]) -> str:
    text = numbers(values).replace("/", " / ")
    return f"({text.replace(',', ', ')})" if "," in text else text
