"""Public names: what a type checker is told of them is what there is at run time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import escrime
import escrime.evaluation
from escrime.discovery import late_names

TYPED = """
import escrime
import escrime.attacks
import escrime.evaluation
from escrime import Attack, Effort, certify, fit, tune
from escrime.attacks import ATTACKS, Outcome
from escrime.evaluation import compare

reveal_type(escrime.attacks.PGD(0.1, steps=3))
reveal_type(escrime.FGSM(0.1))
reveal_type(escrime.tune)
escrime.evaluate(1, 2, 3, nonsense="x")
escrime.PGD(0.1, stepz=3)
escrime.attacks.PGD("8/255", early_stop="no")
escrime.evalute
escrime.attacks.PDG
escrime.evaluation.comparee
"""
SAID = (
    'Revealed type is "escrime.attacks.pgd.PGD"',
    'Revealed type is "escrime.attacks.fgsm.FGSM"',
    'Revealed type is "def (',
    'Unexpected keyword argument "nonsense" for "evaluate"',
    'Unexpected keyword argument "stepz" for "PGD"',
    'Argument "early_stop" to "PGD" has incompatible type "str"',
    'Module has no attribute "evalute"',
    'Module has no attribute "PDG"',
    'Module has no attribute "comparee"',
)


@pytest.mark.parametrize("package", [escrime, escrime.evaluation], ids=lambda package: package.__name__)
def test_what_a_checker_is_told_is_what_there_is(package):
    names = late_names(package.__name__)
    assert len(names) > 10 and set(names) <= set(package.__all__)
    for name in names:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.slow
def test_a_checker_knows_the_types_of_public_names(tmp_path):
    """As strict as can be, as a user's own settings may be."""
    (tmp_path / "mine.py").write_text(TYPED)
    place = os.environ | {"MYPYPATH": str(Path(escrime.__file__).parents[1])}
    words = ("-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "--cache-dir=cache", "mine.py")
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=place, capture_output=True, text=True, timeout=280)
    lines = [line for line in done.stdout.splitlines() if line.startswith("mine.py:")]
    assert all(any(said in line for line in lines) for said in SAID), done.stdout + done.stderr
    wrong = TYPED[: TYPED.index("escrime.evaluate(")].count("\n") + 1
    assert all(int(line.split(":")[1]) >= wrong for line in lines if ": error:" in line), done.stdout
