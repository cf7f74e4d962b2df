"""Writes what is made from the code: tables of the README and of these pages, found.pyi, catalog.json: python docs/tables.py

Each stands between two comments, <!-- table: NAME --> and <!-- end of table -->. A test fails where one is not what this makes.
"""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

from escrime.attacks import ATTACKS, Attack
from escrime.commands.catalog import KEPT, files, in_words, made
from escrime.data import DATASETS
from escrime.norms import NORMS
from escrime.report.document_schema import SCHEMA, schema
from escrime.training import OBJECTIVES

ROOT = Path(__file__).parents[1]
STUB = "src/escrime/attacks/core/found.pyi"
PAGES = (
    "README.md",
    "docs/reference.md",
    "docs/how-to/attack.md",
    "docs/how-to/data.md",
    "docs/how-to/train.md",
    "docs/ideas/threats.md",
)
PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end of table -->)", re.S)


def rows(heads: tuple[str, ...], cells) -> str:
    lines = [heads, ("---",) * len(heads), *cells]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def attacks() -> str:
    """What each does, its norms, and what it needs."""
    cells = [
        (f"`{call(name, ATTACKS[name])}`", entry["what"].rstrip("."), *in_words(entry))
        for name, entry in made()["attacks"].items()
    ]
    return rows(("", "what it does", "norms", "the model gives", "kind"), cells)


def call(name: str, attack: type[Attack]) -> str:
    """The least that makes one."""
    needed = [
        field.name for field in fields(attack) if field.default is MISSING or field.name == "target" and attack.needs_target
    ]
    return f"{name}({', '.join(needed)})"


def papers() -> str:
    return rows(("", "from"), [(f"`{name}`", attack.paper) for name, attack in ATTACKS.items()])


def attack_reference() -> str:
    """The lines that mkdocstrings makes the reference of."""
    classes = [f"{attack.__module__}.{name}" for name, attack in ATTACKS.items()]
    return "".join(f"::: {path}\n" for path in [*classes, "escrime.attacks.core.base.Attack"])


def attack_stub() -> str:
    """What type checkers are told of the attacks, which at run time are found."""
    first = '"""Which attacks there are. python docs/tables.py writes this; found.py finds them at run time."""\n\n'
    package = Attack.__module__.partition(".core.")[0]
    homes = {name: attack.__module__.removeprefix(f"{package}.") for name, attack in ATTACKS.items()}
    return first + "".join(sorted(f"from ..{home} import {name} as {name}\n" for name, home in homes.items()))


def datasets() -> str:
    cells = [(f"`{name}`", dataset.what, f"{dataset.side} px") for name, dataset in DATASETS.items()]
    return rows(("", "what it is", "size, unless another is given"), cells)


def objectives() -> str:
    return rows(("", "from"), [(f"`{name}`", entry.source) for name, entry in OBJECTIVES.items()])


def usual() -> str:
    """The ε of each threat where none is given."""
    cells = [(f"`{name}`", norm.unit, *map(str, norm.usual)) for name, norm in NORMS.items()]
    return rows(("norm", "ε counts", "usual ε up to 64 px", "of larger images"), cells)


def kept() -> str:
    """What `escrime list` prints without waiting for torch."""
    return json.dumps({"files": files(), "catalog": made()}, indent=1, ensure_ascii=False) + "\n"


TABLES = {
    "attacks": attacks,
    "papers": papers,
    "attack-reference": attack_reference,
    "datasets": datasets,
    "objectives": objectives,
    "usual": usual,
}


def written(text: str) -> str:
    """The text of a page with its tables as they should be."""
    return PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]().strip()}\n\n{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / SCHEMA).write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (ROOT / STUB).write_text(attack_stub(), encoding="utf-8")
    KEPT.write_text(kept(), encoding="utf-8")
