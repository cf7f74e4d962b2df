"""An evaluation within a given time: what is kept for the checks, what they can afford, and what was left open."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..errors import shortened
from ..models import deadline
from ..models.adapted import in_its_precision
from ..models.running import Classifier, check_logits, no_trace
from ..norms import NORMS, norm
from ..randomness import row_keys
from ..results.findings import BUDGET, Finding
from ..results.keys import names_in
from ..results.records import STRONGER
from ..results.threats import DEPLOYED
from ..terminal import duration
from .cost import passes_of_check
from .effort import Effort
from .requests import norm_of
from .store import Store
from .subjects import Case, cases_of

LEAST, MOST = 0.2, 0.5  # of the budget, kept for the checks
SAFETY = 1.5  # over what they are expected to take
LOOK = 0.05  # of the budget, for one look at a model before it is attacked
LOOKED = 4  # images that a look takes, however little time there is,
FEWEST = 8  # and an examination
NAMED = 5  # attacks in a sentence
PROBED = 0.5  # of a case's time, for its examination; the rest for the stronger attack on every image


def seconds_per_pass(model: Classifier, images: Tensor) -> float:
    """How long one image takes, asked about in a batch of `images` (N, C, H, W); the second of two batches counts."""
    seconds = 0.0
    with torch.no_grad(), no_trace(model, images.device):
        for _ in range(2):
            began = deadline.clock()
            with row_keys([("seconds_per_pass", row) for row in range(len(images))]):
                check_logits(
                    in_its_precision(model)(images.clone()), images
                ).sum().item()  # waits for a device that works on its own
            seconds = deadline.clock() - began
    return seconds / len(images)


def images_for_a_look(budget: float, passes: int, each: float, most: int) -> int:
    """How many images, at most `most`, the first look may use: `passes` per image, each of `each` seconds."""
    return most if each <= 0 else max(LOOKED, min(most, int(LOOK * budget / (passes * each))))


def passes_of_checks(case: Case, effort: Effort, images: int) -> float:
    """About how many network passes an examination takes, and the stronger attack on every image after it."""
    probing, stronger = passes_of_check(case, effort)
    return min(effort.images, images) * (probing.forwards + probing.gradients) + images * (
        stronger.forwards + stronger.gradients
    )


def kept_for_checks(budget: float, expected: float) -> float:
    """Seconds of the budget that the attacks must leave, where the checks are expected to take so many."""
    return min(max(SAFETY * expected, LEAST * budget), MOST * budget)


def affordable(effort: Effort, seconds: float, judged: int) -> Effort:
    """The effort with as many images as can be examined in the time left, at so many `seconds` for each. Fewer than asked for
    (of those `judged`) are noted in the deadline's `cut`."""
    left, wanted = deadline.time_left(), min(effort.images, judged)
    if left is None or seconds <= 0:
        return effort
    images = max(FEWEST, int(PROBED * max(left, 0.0) / seconds))
    if images >= wanted:
        return effort
    deadline.cut(f"the examination of {wanted - images} of {wanted} images")
    return replace(effort, images=images)


def judged_by_all(records: pd.DataFrame) -> frozenset[str]:
    """Ids, as text, of the images that every attack has finished in every case; an attack without any rows does not count."""
    own = records[~records["attack"].str.startswith(STRONGER)]
    tried = own[["model", "defense", "threat", "attack", "image"]].drop_duplicates()
    faced = tried["image"].value_counts()
    return frozenset(faced.index[faced == len(tried.drop(columns="image").drop_duplicates())])


def left_open(records: pd.DataFrame, attacks: Sequence[str], images: int, cut: Sequence[str] = ()) -> dict:
    """What was not done of one case, whose records these are: {"images": how many of `images` are not judged by all attacks,
    "attacks": {attack: images it has not finished}, "checks": what was cut short}."""
    counts = records.groupby("attack")["image"].nunique()
    missing = {name: images - int(counts.get(name, 0)) for name in attacks}
    whole = len(judged_by_all(records)) if all(name in counts for name in attacks) else 0
    return {"images": images - whole, "attacks": {name: n for name, n in missing.items() if n}, "checks": list(cut)}


def open_checks(store: Store) -> dict[tuple, list[str]]:
    """(model, defense, threat level, norm) → what the examination of it left open to keep within the time."""
    return {(*names_in(case), name): old.cut for (case, name), old in store.examinations().items() if old.cut}


def in_words(cut: Mapping[tuple, Sequence[str]], norms: Collection[str]) -> list[str]:
    """What `open_checks` found, of several `norms` that are judged with that which it is in."""
    titled = lambda name: f"{norm(name).title}: " if len(norms) > 1 and name in NORMS else ""  # noqa: E731
    return [f"{titled(name)}{what}" for (*_, name), found in cut.items() for what in found]


def again(store: Store, effort: Effort, rates: Mapping[tuple[str, str], float], took: float) -> float:
    """Seconds that the examinations which were cut short will take, done again in full. rates: case, norm → seconds that one
    image took; `took` is all examinations' time, for one whose rate was not measured."""
    cut = {which: min(effort.images, old.images) for which, old in store.examinations().items() if old.cut}
    return sum(images * rates[which] if which in rates else took for which, images in cut.items())


def budget_findings(
    records: pd.DataFrame,
    cases: Sequence[Case],
    attacks: Mapping[str, Any],
    images: int,
    cut: Mapping[tuple, Sequence[str]],
    given: float,
) -> list[Finding]:
    """What there was no time for, one finding per case and norm: a note where only images are left, since the interval accounts
    for them; a warning where an attack was run on no image, or a check was cut short (`cut`: see `open_checks`). None of a norm
    of which nothing is left open. attacks: by label. given: seconds that there were for attacks and checks."""
    found, wanted = [], dict[tuple, list[str]]()
    for label, attack in attacks.items():
        for case in cases_of(attack, cases):
            wanted.setdefault((*case.name, norm_of(attack).name), []).append(label)
    norms = {name for *_, name in wanted}
    for (model, defense, threat, name), labels in wanted.items():
        own = records[(records["model"] == model) & (records["defense"] == defense) & (records["threat"] == threat)]
        which = (model, defense, threat, name)
        rest = left_open(own[own["norm"] == name], labels, images, in_words({which: cut.get(which, ())}, norms))
        never = [label for label, n in rest["attacks"].items() if n == images]
        words = [f"{shortened(never, NAMED)} {'was' if len(never) == 1 else 'were'} run on no image"] if never else []
        if rest["images"] and not never:
            words.append(f"{rest['images']:,} of {images:,} images were not attacked by every attack")
        if rest["checks"]:
            words.append(_unchecked(rest["checks"]))
        if words:
            severity = "warning" if never or rest["checks"] else "note"
            found.append(_left_out("; ".join(words), severity, rest | {"of": images}, given).of(model, defense, threat, name))
    for (model, defense, threat, _), checks in cut.items():
        if threat == DEPLOYED:
            found.append(_left_out(_unchecked(checks), "warning", {"checks": list(checks)}, given).of(model, defense, threat))
    return found


def _unchecked(checks: Sequence[str]) -> str:
    return f"of the checks this was left out: {', '.join(checks)}"


def _left_out(what: str, severity: str, evidence: dict[str, Any], given: float) -> Finding:
    message = f"To keep within the {duration(given)} that there were for attacks and checks, {what}"
    remedy = "Run again to go on, with more time (the budget) or without a limit; each check has its share of the time."
    return Finding(BUDGET, severity, message, evidence, remedy)
