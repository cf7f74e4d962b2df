"""Does a number hang on the draw that it was measured with? A model that knows the draws of a seed is right on them alone."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from ...attacks.core.base import Attack
from ...budgets import within
from ...checks import no_targets
from ...models.fast.twin import Twin
from ...norms import norm
from ...randomness import key
from ...results.findings import Finding
from ...results.records import WORST
from ...results.statistics import first_of_draws
from ..images import Images
from ..scoring import score
from .search import with_settings

LESS = 0.05  # accuracy that other draws must take to count,
CERTAIN = 0.001  # and the p of the exact test over images, divided by the number of tests
AGAIN = 7  # other draws, where the first takes so much


def another_draw(
    twin: Twin, images: Images, records: pd.DataFrame, attacks: Mapping[str, object], name: str, eps: float, seed: int
) -> list[Finding]:
    """Whether attacks in a norm whose images are drawn leave clearly less of the same images with other draws: each of them at
    each ε that the verdict counts, all together, and their worst case.

    Args:
        twin: Who is asked.
        images: Those that were attacked, or some of them.
        records: Rows of the case.
        attacks: By label, those of other norms among them.
        name: The norm.
        eps: The ε of the verdict, to whose number every smaller one belongs.
        seed: That of the evaluation.

    Returns:
        One finding, [] where no attack of ours was recorded.
    """
    names = [str(id) for id in images.ids]
    own = records[(records["norm"] == name) & (records["eps"] > 0) & within(records["eps"], eps) & records["verified"]]
    drawn: dict[str, list[np.ndarray]] = {}  # (N,) of each draw, that of the records first
    again: dict[str, Callable[[int], np.ndarray]] = {}
    for (label, at), rows in own.groupby(["attack", "eps"], sort=False):
        attack, before = attacks.get(str(label)), rows.drop_duplicates("image").set_index("image")["correct"].reindex(names)
        if isinstance(attack, Attack) and not before.isna().any():
            what = f"{label} at {norm(name).said(float(at))}"
            drawn[what] = [before.to_numpy(float)]
            again[what] = partial(
                _correct, twin, with_settings(attack.redrawn(), eps=float(at)), images, int(rows["draws"].max())
            )
    if not drawn:
        return []
    for number in range(AGAIN):  # one draw that takes no less is enough
        for what, draws in drawn.items():
            draws.append(again[what](key(seed, "another draw", number)))
        told = _together(drawn)
        drops = {what: float(draws[0].mean() - draws[1:].mean()) for what, draws in told.items()}
        if max(drops.values()) < LESS:
            break
    fired = [what for what in told if drops[what] >= LESS and first_of_draws(told[what]) <= CERTAIN / len(told)]
    what = max(fired or told, key=lambda what: drops[what])
    first, second, n = float(told[what][0].mean()), float(told[what][1:].mean()), len(names)
    evidence = {"images": n, "attacks": len(drawn), "this draw": round(first, 4), "another draw": round(second, 4)}
    message = f"{what} leaves {first:.1%} of {n} images right with the draw of this seed, {second:.1%} with another"
    if not fired:
        return [Finding("another-draw", "passed", message, evidence)]
    return [
        Finding(
            "another-draw",
            "alarm",
            f"{message}: the model knows this one",
            evidence,
            "Believe what another --seed gives; look for a table of known inputs, or for training on the test's own draws.",
        )
    ]


def _together(drawn: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """The draws of each attack, (draws, N); of several also their worst case and their average."""
    each = {what: np.stack(draws) for what, draws in drawn.items()}
    if len(each) == 1:
        return each
    every = np.stack(list(each.values()))
    return {f"{WORST} of {len(each)}": every.min(0), f"the average of {len(each)}": every.mean(0)} | each


def _correct(twin: Twin, attack: Attack, images: Images, draws: int, seed: int) -> np.ndarray:
    """Of each image, how often it is right with the draw of a seed, (N,)."""
    moved = attack(twin, images.pixels, images.labels, seed=seed, ids=images.ids)
    keys = [(seed, id, attack.name) for id in images.ids]
    return score(twin, moved, images.labels, no_targets(images.labels), keys, draws).correct.double().numpy()
