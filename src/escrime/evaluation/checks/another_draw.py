"""Does a number hang on the draw that it was measured with? A model that knows the draws of a seed is right on them alone."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...attacks.core.base import Attack
from ...budgets import same
from ...checks import no_targets
from ...models.fast.twin import Twin
from ...norms import norm
from ...results.findings import Finding
from ...results.statistics import sign_flips
from ..images import Images
from ..scoring import score
from .search import with_settings

LESS = 0.05  # accuracy that another draw must take to count,
CERTAIN = 0.001  # and the p of the exact test over images


def another_draw(
    twin: Twin, images: Images, records: pd.DataFrame, attacks: Mapping[str, object], name: str, eps: float, seed: int
) -> list[Finding]:
    """Whether the attacks in a norm whose images are drawn leave clearly less of the same images with another draw.

    Args:
        twin: Who is asked.
        images: A few of those that were attacked.
        records: Rows of the case.
        attacks: By label, those of other norms among them.
        name: The norm.
        eps: The ε at which they are compared.
        seed: That of the evaluation.

    Returns:
        One finding, [] where no attack of ours was recorded at this ε.
    """
    names, none = [str(id) for id in images.ids], no_targets(images.labels)
    at = records[(records["norm"] == name) & same(records["eps"], eps) & records["verified"]]
    before, after = [], []
    for label, attack in attacks.items():
        own = at[at["attack"] == label].drop_duplicates("image").set_index("image")["correct"].reindex(names)
        if not isinstance(attack, Attack) or attack.geometry.name != name or own.isna().any():
            continue
        moved = with_settings(attack, eps=eps)(twin, images.pixels, images.labels, seed=seed + 1, ids=images.ids)
        keys = [(seed, id, "another draw", label) for id in images.ids]
        before.append(own.to_numpy(float))
        after.append(score(twin, moved, images.labels, none, keys).correct.double().numpy())
    if not before:
        return []
    first, second = np.mean(before, axis=0), np.mean(after, axis=0)
    share, n = float(first.mean() - second.mean()), len(names)
    evidence = {"images": n, "attacks": len(before), "this draw": round(float(first.mean()), 4)}
    evidence |= {"another draw": round(float(second.mean()), 4)}
    told = f"{first.mean():.1%} of the attacked images are right with the draw of this seed, {second.mean():.1%} with another"
    if share < LESS or sign_flips(first, second) > CERTAIN:
        return [Finding("another-draw", "passed", f"{told} ({n} images, {norm(name).said(eps)})", evidence)]
    return [
        Finding(
            "another-draw",
            "alarm",
            f"{told}: the model knows this one ({n} images, {norm(name).said(eps)})",
            evidence,
            "Believe what another --seed gives; look for a table of known inputs, or for training on the test's own draws.",
        )
    ]
