"""Public names tell what they take: the reference makes its tables from `Args:`, a type checker reads annotations."""

import inspect
import re
from importlib.resources import files

import pytest

import escrime

NAMES = [name for name in escrime.__all__ if name != "__version__"]


def told(docstring: str) -> list[str]:
    """The names under `Args:`."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", inspect.cleandoc(docstring) + "\n", re.M)
    return re.findall(r"^    (\w+): \S", section[1], re.M) if section else []


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_a_public_name_is_told_and_annotated(name):
    public = getattr(escrime, name)
    if inspect.isclass(public) and issubclass(public, Exception):
        return
    arguments = inspect.signature(public).parameters
    assert told(public.__doc__) == list(arguments), name
    assert all(value.annotation is not value.empty for value in arguments.values()), name


def test_types_are_shipped():
    assert (files("escrime") / "py.typed").is_file()
