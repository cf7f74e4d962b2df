"""Values that are none, refused before anything is loaded: whoever mistypes an ε or a name waits for no torch.

Each is looked at by the same check as where it is used, so the sentences are the same. What only the model, the images or the
machine can tell is looked at later.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..access import ACCESS
from ..budgets import epsilon
from ..commands.catalog import attack_named, catalog, check_settings
from ..commands.evaluate.request import check_name
from ..commands.run.files import read_experiment
from ..commands.shared.devices import check_device
from ..commands.shared.settings import parse_settings
from ..commands.shared.threats import check_above_zero
from ..errors import EscrimeError, nearest
from ..norms import DEFAULT, check_works_in, norm, refuse_mask
from ..regular_files import expanded
from ..results.threats import DEFENDED
from ..specifications import check_architecture, check_specification, check_weights, text_of_classes
from ..validation import channel_numbers, check_both, check_choice, check_real, check_time, check_whole
from .options import check_gate, split, threats, whole_numbers

Given = dict[str, Any]
# What the sentences of an experiment call its options.
IN_A_FILE = {
    "size": "data.size",
    "limit": "data.limit",
    "epochs": "training.epochs",
    "adversarial_epochs": "training.epochs of adversarial training",
}


def refuse(command: str, given: Given) -> None:
    """Raise EscrimeError for the first value of `given`, parameter → value, that the command cannot work with."""
    for name, check in CHECKS.items():
        if given.get(name) not in (None, (), []):
            check(command, given[name], given)
    check_both(given.get("mean"), given.get("std"))


def refuse_number(name: str, kind: type, words: list[str]) -> None:
    """Raise EscrimeError for what stands on the command line, its `words`, where the option `name` has an int or float."""
    given = [after for word, after in zip(words, words[1:]) if word == name]
    given += [word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}=")]
    for text in given:
        if not _reads(kind, text):
            what, usual = ("whole number", "8") if kind is int else ("number", "0.4")
            raise EscrimeError(f"{name} {text!r} is not a {what}; write {_meant(kind, text) or f'one, such as {usual}'}.")


def _reads(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _meant(kind: type, text: str) -> str | None:
    """The number that somebody may have meant who writes 40%, 0,4 or 1,000."""
    share = f"{float(text[:-1]) / 100:g}" if kind is float and text.endswith("%") and _reads(float, text[:-1]) else ""
    words = (share, text.replace(",", "." if kind is float else ""))
    return next((word for word in words if _reads(kind, word)), None)


def _eps(command: str, text: str, given: Given) -> None:
    if not text and command == "evaluate":
        if given.get("threat"):
            return
        raise EscrimeError(
            "no ε is given; say how far the attacker may go: --eps 4/255, or --threat all for the usual of each norm."
        )
    own = norm(given.get("norm") or DEFAULT)
    read = partial(epsilon, largest=math.inf) if command == "compare" else own.epsilon
    found = [read(word) for word in (split(text) if command in ("compare", "evaluate") else (text,))]
    if command == "evaluate":
        check_above_zero(found)


def _threats(command: str, text: str, given: Given) -> None:
    threats(text, given.get("eps") or "", given.get("norm") or DEFAULT)


def _radii(command: str, text: str, given: Given) -> None:
    for word in split(text):
        epsilon(word)


def _attacks(command: str, text: str, given: Given) -> None:
    if command != "compare":  # which knows what its runs hold
        named = _norms(given)
        for name in split(text):
            able = attack_named(name)["norms"]
            if named and not set(named) & set(able):
                check_works_in(name, able, named[0])


def _norms(given: Given) -> list[str]:
    """The norms that are asked for; none where that is "all"."""
    if given.get("threat"):
        bounds = threats(given["threat"], "", DEFAULT)
        return [] if not all(threat.named for threat in bounds) else [threat.norm for threat in bounds]
    return [given.get("norm") or DEFAULT]


def _mask(command: str, path: Path, given: Given) -> None:
    if not expanded(path).exists():
        raise EscrimeError(f"the mask {path} does not exist; check the path of --mask.")
    for name in _norms(given):
        refuse_mask(norm(name), f"threat {name!r}")


def _whole(name: str, of: str = "", hint: str = "") -> Callable[[str, int, Given], object]:
    return lambda command, value, given: check_whole(IN_A_FILE[name] if command == "run" else name, value, of=of, hint=hint)


def _settings(command: str, pairs: list[str], given: Given) -> None:
    own = ("epochs", "learning_rate", "batch_size")
    check_settings(parse_settings(pairs, {name: given.get(name) for name in own}))


def _goals(command: str, pairs: list[str], given: Given) -> None:
    own = {"name": given["objective"], "eps": given.get("eps")}
    check_settings([name for name in parse_settings(pairs, own) if name not in own], given["objective"])


def _data(command: str, text: str | Path, given: Given) -> None:
    names = catalog()["datasets"]
    if command == "train":
        if not expanded(text).is_dir():  # of which its own sentence tells more
            check_choice("dataset", text, names)
    elif command == "run":
        _there(command, Path(text), given)
    elif text not in names and not expanded(text).exists():
        raise EscrimeError(
            f"the data folder {str(text)!r} does not exist, and no dataset is called so; check the spelling of --data "
            f"DIR.{nearest(text, names)}"
        )


def _there(command: str, path: Path, given: Given) -> None:
    """Of the folder of a run, or of images."""
    if not expanded(path).exists():
        of_images = {"train": "check the path", "run": "check the path, or leave out --data"}
        remedy = of_images.get(command, "give the folder of a run, such as runs/digits")
        raise EscrimeError(f"the folder {str(path)!r} does not exist; {remedy}.")


def _photos(command: str, paths: list[str], given: Given) -> None:
    for path in paths:
        if not expanded(path).exists():
            raise EscrimeError(f"the photo {path} does not exist; check the path.")


def _model(command: str, text: str, given: Given) -> None:
    check_specification(text, catalog()["architectures"])


def _weights(command: str, given: str | list[str], _: Given) -> None:
    for entry in [given] if isinstance(given, str) else given:
        model, equals, source = entry.partition("=")
        named = command == "run" and equals and not expanded(entry).exists()  # MODEL=FILE
        if (source if named else entry) != "none":
            check_weights(source if named else entry)


CHECKS: dict[str, Callable[[str, Any, Given], object]] = {
    "experiment": lambda command, name, given: read_experiment(name),
    "norm": lambda command, name, given: norm(name),
    "threat": _threats,
    "access": lambda command, name, given: check_choice("access", name, ACCESS),
    "against": lambda command, name, given: check_choice("against", name, DEFENDED[::-1]),
    "objective": lambda command, name, given: check_choice("objective", name, catalog()["objectives"]),
    "attack": _attacks,
    "mask": _mask,
    "eps": _eps,
    "eps_max": _radii,
    "samples": lambda command, text, given: whole_numbers("--samples", text),
    "set_": _settings,
    "goal": _goals,
    "device": lambda command, name, given: check_device(name),
    "limit": _whole("limit", "images", "or leave it out"),
    "size": _whole("size", "pixels", "or leave it out"),
    "train_size": _whole("train_size", "pixels"),
    "steps": _whole("steps"),
    "epochs": _whole("epochs"),
    "adversarial_epochs": _whole("adversarial_epochs"),
    "batch_size": _whole("batch_size"),
    "learning_rate": lambda command, value, given: check_real("learning_rate", value, above=0),
    "budget": lambda command, text, given: check_time("--budget", text),
    "fail_under": lambda command, share, given: check_gate(share),
    "mean": lambda command, text, given: channel_numbers("--mean", text),
    "std": lambda command, text, given: channel_numbers("--std", text),
    "data": _data,
    "photos": _photos,
    "model": _model,
    "teacher": _model,
    "arch": lambda command, name, given: check_architecture(name, catalog()["architectures"]),
    "weights": _weights,
    "classes": lambda command, path, given: text_of_classes(path),
    "folder": _there,
    "first": _there,
    "second": _there,
    "name": lambda command, name, given: check_name(name),
}
