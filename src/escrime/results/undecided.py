"""When the measurements of `tune` cannot tell whether a setting is worth its cost, and why."""

from typing import Any

import numpy as np
import pandas as pd

from .choosing import Choice
from .statistics import p_text

MATTERS = 0.05  # a gain of the mean of clean and attacked accuracy that may still be larger than this is not excluded


def why_undecided(table: pd.DataFrame, choice: Choice, validated: dict[str, Any], confirmed: bool, labels: np.ndarray) -> str:
    """Why nobody can tell, as the end of a sentence; "" where the images do tell.

    Args:
        table: every setting on the half that chose, see `choosing.table_of`.
        choice: what was chosen by it.
        validated: the candidate and the undefended network on the other half, with the paired tests.
        confirmed: whether those confirm the gain.
        labels: of that half, (n,).
    """
    n, clean = validated["n"], validated["undefended"]["clean"]
    commonest = float(np.bincount(np.unique(labels, return_inverse=True)[1]).max() / len(labels))
    if clean[0] == 0:
        return f"the undefended network gets none of {n} images right without attack; look at its labels and how it is fed"
    if clean[1] <= commonest:
        return (
            f"without attack the undefended network gets {clean[0]:.1%} of {n} images right, and always naming the commonest "
            f"class would get {commonest:.1%}; look at its labels and how it is fed"
        )
    if (table["attacked"] == 0).all() and validated["candidate"]["attacked"][0] == validated["undefended"]["attacked"][0] == 0:
        return f"under attack neither the network nor any setting gets one of {n} images right; try a smaller ε"
    test = validated["tests"]["mean"]
    low, high = (f"{100 * test[end]:+.1f}".replace("-", "−") for end in ("low", "high"))
    found = f"95 % interval {low} to {high} points, exact paired test {p_text(test['p'], 'p')}"
    if choice.worth_it and not confirmed:
        return f"the gain on the images that chose is not confirmed on {n} others ({found}); more images would tell"
    if not choice.worth_it and test["high"] >= MATTERS:
        return f"no setting stands out, and {n} other images are too few to exclude a gain ({found}); more would tell"
    return ""
