"""Public names tell what they take: the reference makes its tables from `Args:`, a type checker reads annotations."""

import inspect
import re
from importlib import import_module
from importlib.resources import files

import pytest

import escrime

LATER = ("evaluation", "results", "attacks")  # whose docstrings still have "Errors: …"
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


ROOMS = {room: import_module(f"escrime.{room}") for room in ("data", "models", "training", "defenses")}
IN_ROOMS = [
    (room, name)
    for room, module in ROOMS.items()
    for name in module.__all__
    if inspect.isfunction(held := getattr(module, name)) and len(inspect.signature(held).parameters) > 1
]
CLASSES = [("data", "ImageSet"), *(("defenses", name) for name in ROOMS["defenses"].__all__)]


@pytest.mark.parametrize(("room", "name"), IN_ROOMS + CLASSES)
def test_every_argument_of_a_room_s_public_name_is_told(room, name):
    """Of functions of two arguments and more, and of the classes that users make."""
    public = getattr(ROOMS[room], name)
    assert told(public.__doc__) == list(inspect.signature(public).parameters)
    assert not inspect.isfunction(public) or re.search(r"^ +Returns:\n +\S", public.__doc__, re.M)


@pytest.mark.parametrize(
    "room", [path for path in files("escrime").iterdir() if path.name not in LATER], ids=lambda path: path.name
)
def test_errors_are_told_in_one_way(room):
    """As a section `Raises:`, which the reference shows, or in a sentence."""
    sources = room.rglob("*.py") if room.is_dir() else [room] * (room.suffix == ".py")
    assert not [path.name for path in sources if re.search(r"\bErrors: ", path.read_text(encoding="utf-8"))]


def test_types_are_shipped():
    assert (files("escrime") / "py.typed").is_file()
