"""What a type checker knows of the public names: checked by mypy with the rest (see `files` in pyproject.toml), never run.

Each wrong use below is marked as ignored, and an ignored error that mypy does not find is one.
"""

from typing import assert_type

import escrime
import escrime.attacks
import escrime.evaluation
from escrime import Attack, Effort, certify, fit, tune
from escrime.attacks import ATTACKS, Outcome
from escrime.evaluation import compare

assert_type(escrime.attacks.PGD(0.1, steps=3), escrime.attacks.PGD)
assert_type(escrime.FGSM(0.1), escrime.FGSM)
assert_type(ATTACKS, dict[str, type[Attack]])
USED = (Effort(), certify, fit, tune, Outcome, compare)

escrime.evaluate(1, 2, 3, nonsense="x")  # type: ignore[call-arg, arg-type]
escrime.PGD(0.1, stepz=3)  # type: ignore[call-arg]
escrime.attacks.PGD("8/255", early_stop="no")  # type: ignore[arg-type]
MISSPELLED = (
    escrime.evalute,  # type: ignore[attr-defined]
    escrime.attacks.PDG,  # type: ignore[attr-defined]
    escrime.evaluation.comparee,  # type: ignore[attr-defined]
)
