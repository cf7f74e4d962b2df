"""What there is, for `escrime list` and for whoever refuses a misspelt name or completes half of one.

Every entry is made from the thing itself (`made`), which takes the seconds that torch does. So what was made is kept beside
this file: `python docs/tables.py` writes it, and a test holds it current. Where a file of the rooms that it is made of came or
went, it is made anew.
"""

import json
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from inspect import getdoc
from pathlib import Path
from typing import Any

from ..errors import EscrimeError, nearest
from ..validation import check_choice
from .run.files import shipped, title

Catalog = dict[str, dict[str, dict[str, Any]]]
TITLES = {
    "experiments": "Experiments (escrime run NAME)",
    "datasets": "Datasets",
    "architectures": "Architectures",
    "attacks": "Attacks",
    "defenses": "Defenses",
    "objectives": "Training objectives",
    "settings": "Training settings (--set NAME=VALUE) and what they are by default",
}
KEPT = Path(__file__).with_name("catalog.json")
WRAPPED = {"search": "what its attack needs", "surrogates": "nothing"}  # kind of an attack that takes another → what it needs
ROOMS = ("attacks", "data", "defenses", "training", "commands/run/shipped")


@cache
def catalog() -> Catalog:
    """Section → name → description, JSON values; "what" of each is a line about it."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    return kept["catalog"] if kept["files"] == files() else made()


def files() -> list[str]:
    """The files of the rooms that the catalog is made from."""
    home = KEPT.parents[1]
    found = [path for room in ROOMS for path in (home / room).glob("[!_]*.*")]
    return sorted(path.relative_to(home).as_posix() for path in found if path.is_file())


def made() -> Catalog:
    """The catalog, from the things themselves."""
    from .. import defenses
    from ..attacks import ATTACKS
    from ..attacks.core.registry import settings_of
    from ..data import DATASETS
    from ..models import ARCHITECTURES
    from ..training import OBJECTIVES, TrainSettings

    guards = {name: getattr(defenses, name) for name in defenses.__all__}
    return {
        "experiments": {name: {"what": title(path)} for name, path in shipped().items()},
        "datasets": {name: {"what": dataset.what} for name, dataset in DATASETS.items()},
        "architectures": {
            name: {"what": entry.description, "published": entry.builder is not None} for name, entry in ARCHITECTURES.items()
        },
        "attacks": {
            name: {
                "what": first_line(attack),
                "norms": list(attack.norms),
                "access": attack.access,
                "kind": attack.kind,
                "needs_target": attack.needs_target,
                "settings": list(settings_of(attack)),
                "paper": attack.paper,
            }
            for name, attack in ATTACKS.items()
        },
        "defenses": {name: {"what": first_line(guard)} for name, guard in guards.items() if isinstance(guard, type)},
        "objectives": {name: {"what": entry.source, "settings": list(_fields(entry))} for name, entry in OBJECTIVES.items()},
        "settings": {name: {"what": _default(field.default)} for name, field in _fields(TrainSettings).items()},
    }


def first_line(thing: type) -> str:
    return (getdoc(thing) or "").partition("\n")[0]


def _fields(thing: Any) -> dict[str, Any]:
    return {field.name: field for field in fields(thing)}


def _default(value: Any) -> str:
    return "off" if value is None else ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def in_words(attack: dict[str, Any]) -> tuple[str, str, str]:
    """Norms, what the model must give away, and kind of an attack of the catalog."""
    return ", ".join(attack["norms"]), WRAPPED.get(attack["kind"], attack["access"]), attack["kind"]


def as_lines(found: Catalog) -> list[str]:
    """The catalog as text; behind an attack its norms and what it needs of the model."""
    lines = []
    for section, entries in found.items():
        lines.append(TITLES[section])
        for name, entry in entries.items():
            more = f" [{'; '.join(in_words(entry))}]" if "norms" in entry else ""
            lines.append(f"  {name:<22} {entry['what']}{more}")
    return lines


def attacks() -> dict[str, dict[str, Any]]:
    """The attacks that can be asked for by name, as `attacks.core.registry.by_name` has them."""
    return {name: entry for name, entry in catalog()["attacks"].items() if entry["kind"] not in WRAPPED}


def attack_named(name: str) -> dict[str, Any]:
    """The entry of an attack; EscrimeError with the nearest one where none is called so."""
    known = attacks()
    return known[check_choice("attack", name, known)]


def check_settings(names: Collection[str], objective: str | None = None) -> None:
    """Raise EscrimeError for a name that is no setting: of training (--set), or of an `objective` (--goal). It says where one
    of the other kind belongs."""
    training, of_objectives = catalog()["settings"], catalog()["objectives"]
    if objective is not None:
        check_choice("objective", objective, of_objectives)
    known = training if objective is None else of_objectives[objective]["settings"]
    owner = "training" if objective is None else f"the objective {objective!r}"
    for name in names:
        if name in known:
            continue
        hint = nearest(name, known) + " Settings of the objective are given with --goal." * (objective is None)
        if objective is not None and name in training:
            hint = f" It is a setting of training: give it with --set {name}=."
        owners = [other for other, entry in of_objectives.items() if name in entry["settings"]]
        if objective is None and owners:
            hint = f" It is a setting of the objective {' or '.join(owners)}: give it with --goal {name}=."
        raise EscrimeError(f"{owner} has no setting {name!r}; it has {', '.join(known) or 'none'}.{hint}")
