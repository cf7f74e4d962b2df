"""What the shell completes: names of attacks and datasets, kinds of models, devices. Nothing here waits for torch."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import typer

from ..access import ACCESS
from ..commands.catalog import attacks, catalog
from ..commands.shared.threats import ALL
from ..norms import NORMS
from ..results.threats import DEFENDED

WEIGHTS = (".safetensors", ".pt", ".pth")
BREAKS = ":="  # where bash cuts words in pieces, and gives each as a word


def one_of(names: Callable[[], Iterable[str]]) -> Callable[[Any, list[str], str], list[str]]:
    """Completes the last of several names, apart by commas, with what is not there already."""

    def complete(ctx: Any, args: list[str], incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        there = before.split(",")
        return [before + comma + name for name in names() if name.startswith(last) and name not in there]

    return complete


def section(name: str) -> Callable[[], Iterable[str]]:
    return lambda: catalog()[name]


def model(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """A specification: its kind, a network of torchvision's that escrime knows, an architecture and its file."""
    arch, at, path = incomplete.partition("@")
    if at:
        return [f"{arch}@{found}" for found in _paths(path, WEIGHTS)]
    networks = catalog()["architectures"]
    kinds = [f"torchvision:{name}" for name, entry in networks.items() if entry["published"]]
    kinds += ["timm:", "hf:", *(f"{name}@" for name in networks)]
    found = [kind for kind in kinds if kind.startswith(incomplete)]
    return found + [f"{path}:" if path.endswith(".py") else path for path in _paths(incomplete, (".py", ".onnx", ".pt2"))]


def images(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """A dataset, or a folder."""
    return [name for name in catalog()["datasets"] if name.startswith(incomplete)] + _paths(incomplete, ())


def _paths(incomplete: str, ends: tuple[str, ...]) -> list[str]:
    """The folders, and the files with one of these ends, that a path may go on to."""
    folder, slash, begin = incomplete.rpartition("/")
    try:
        entries = sorted(Path(os.path.expanduser(folder + slash) or ".").iterdir())
    except OSError:
        return []
    there = [entry for entry in entries if entry.name.startswith(begin) and (begin or not entry.name.startswith("."))]
    return [
        folder + slash + entry.name + "/" * entry.is_dir()
        for entry in there
        if entry.is_dir() or entry.name.endswith(ends or "/")
    ]


ATTACKS, OBJECTIVES, ARCHITECTURES = one_of(attacks), one_of(section("objectives")), one_of(section("architectures"))
EXPERIMENTS, DATASETS = one_of(section("experiments")), one_of(section("datasets"))
NORM_NAMES, DEVICES = one_of(lambda: NORMS), one_of(lambda: ("cpu", "cuda"))
THREATS, ACCESS_NAMES = one_of(lambda: (ALL, *NORMS)), one_of(lambda: ACCESS)
AGAINST = one_of(lambda: DEFENDED)


@contextmanager
def bash_words() -> Iterator[None]:
    """Within the block a program that bash asks to complete a word sees whole words. Bash cuts them at a colon, and wants what
    comes after it alone."""
    if os.environ.get("_ESCRIME_COMPLETE") != "complete_bash":
        yield
        return
    words, place = rejoined(os.environ.get("COMP_WORDS", "").split("\n"), int(os.environ.get("COMP_CWORD", "0")))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(place)
    word = words[place] if place < len(words) else ""
    kept = word[: max(map(word.rfind, BREAKS)) + 1]  # an option's value does not begin with its name
    told = io.StringIO()
    try:
        with redirect_stdout(told):
            yield
    finally:
        for line in told.getvalue().splitlines():
            typer.echo(line.removeprefix(kept).removeprefix(kept.partition("=")[2]))


def rejoined(words: list[str], place: int) -> tuple[list[str], int]:
    """The words with those that bash has cut at a colon or an equals sign put together again, and the place of the same one:
    [--model, torchvision, :, res] → [--model, torchvision:res]."""
    joined, now, glue = words[:1], place, False
    for number, word in enumerate(words[1:], 1):
        cut = word != "" and not word.strip(BREAKS)
        if (cut or glue) and len(joined) > 1:
            joined[-1] += word
        else:
            joined.append(word)
        glue = cut
        if number == place:
            now = len(joined) - 1
    return joined, now
