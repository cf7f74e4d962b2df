"""What there is, for `escrime list`; every entry is made from the thing itself."""

import tomllib
from inspect import getdoc
from typing import Any

from .run.schema import shipped

Catalog = dict[str, dict[str, dict[str, Any]]]
TITLES = {
    "experiments": "Experiments (escrime run NAME)",
    "datasets": "Datasets",
    "architectures": "Architectures",
    "attacks": "Attacks",
    "defenses": "Defenses",
    "objectives": "Training objectives",
}


def catalog() -> Catalog:
    """Section → name → description, JSON values; "what" of each is a line about it."""
    from .. import defenses
    from ..attacks import ATTACKS
    from ..data import DATASETS
    from ..models import ARCHITECTURES
    from ..training import OBJECTIVES

    titles = {name: tomllib.loads(path.read_text(encoding="utf-8"))["title"] for name, path in shipped().items()}
    guards = {name: getattr(defenses, name) for name in defenses.__all__}
    return {
        "experiments": {name: {"what": title} for name, title in titles.items()},
        "datasets": {name: {"what": dataset.what} for name, dataset in DATASETS.items()},
        "architectures": {name: {"what": entry.description} for name, entry in ARCHITECTURES.items()},
        "attacks": {
            name: {
                "what": first_line(attack),
                "norms": list(attack.norms),
                "access": attack.access,
                "kind": attack.kind,
                "paper": attack.paper,
            }
            for name, attack in ATTACKS.items()
        },
        "defenses": {name: {"what": first_line(guard)} for name, guard in guards.items() if isinstance(guard, type)},
        "objectives": {name: {"what": entry.source} for name, entry in OBJECTIVES.items()},
    }


def first_line(thing: type) -> str:
    return (getdoc(thing) or "").partition("\n")[0]


def in_words(attack: dict[str, Any]) -> tuple[str, str, str]:
    """Norms, what the model must give away, and kind of an attack of the catalog; WorstCase needs what its attack does."""
    own = attack["kind"] != "search"
    return ", ".join(attack["norms"]), attack["access"] if own else "what its attack needs", attack["kind"]


def as_lines(found: Catalog) -> list[str]:
    """The catalog as text; behind an attack its norms and what it needs of the model."""
    lines = []
    for section, entries in found.items():
        lines.append(TITLES[section])
        for name, entry in entries.items():
            more = f" [{'; '.join(in_words(entry))}]" if "norms" in entry else ""
            lines.append(f"  {name:<22} {entry['what']}{more}")
    return lines
