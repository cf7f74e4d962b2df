"""Public names: what a type checker is told of them (see typed_names.py) is what there is at run time."""

import pytest

import escrime
import escrime.evaluation
from escrime.discovery import late_names


@pytest.mark.parametrize("package", [escrime, escrime.evaluation], ids=lambda package: package.__name__)
def test_what_a_checker_is_told_is_what_there_is(package):
    names = late_names(package.__name__)
    assert len(names) > 10 and set(names) <= set(package.__all__)
    for name in names:
        assert getattr(package, name).__name__ == name
    assert escrime.corruptions.corrupt and escrime.training.TrainSettings, "a folder of the package is there without an import"
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018
