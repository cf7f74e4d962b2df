"""The house: arrows point down only, nothing goes in a circle, and no file is longer than can be read in one sitting."""

import ast
from pathlib import Path

import pytest

import escrime

HOME = Path(escrime.__file__).parent
# From the top. Rooms of one line do not import each other.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("report",),
    ("evaluation",),
    ("training",),
    ("attacks", "defenses"),
    ("models", "data"),
    ("results",),
    ("norms",),
    ("corruptions",),
)
LONGEST = 400  # lines


def imports(path: Path, typing: bool = True, home: Path = HOME) -> set[str]:
    """Modules of escrime that a file imports, inside of functions too, without "escrime."; typing: those too that only a type
    checker sees, as what a file says of another is an arrow, but does not run in a circle."""
    package = ["escrime", *path.relative_to(home).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    unseen = set() if typing else {id(n) for node in checked for inner in node.body for n in ast.walk(inner)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "escrime"}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.split(".")[0] == "escrime":
                for alias in node.names:
                    full = f"{module}.{alias.name}"
                    found.add(full if place(full) else module)
    return {name.partition(".")[2] for name in found} - {""}


def place(module: str) -> Path | None:
    """The file of a module."""
    path = HOME.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def files() -> list[Path]:
    return [path for path in HOME.rglob("*.py") if "__pycache__" not in path.parts]


def room(module: str) -> str:
    return module.partition(".")[0]


def floor(name: str) -> int:
    return next((at for at, rooms in enumerate(FLOORS) if name in rooms), len(FLOORS))


def module_of(path: Path) -> str:
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_arrows_point_down():
    up = []
    for path in files():
        own = module_of(path)
        for other in imports(path):
            if own and room(own) != room(other) and floor(room(other)) <= floor(room(own)) < len(FLOORS):
                up.append(f"{own} → {other}")
            if own and floor(room(own)) == len(FLOORS) > floor(room(other)):
                up.append(f"{own} (below all rooms) → {other}")
    assert not up


def circle(graph: dict[str, set[str]]) -> str:
    """The first circle of the arrows, as "a → b → a"; "" without any."""
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> str:
        if name in trail:
            return " → ".join((*trail[trail.index(name) :], name))
        found = "" if name in done else next(filter(None, (visit(other, (*trail, name)) for other in graph.get(name, ()))), "")
        done.add(name)
        return found

    return next(filter(None, (visit(name, ()) for name in graph)), "")


def test_no_circles_of_modules_or_of_rooms():
    """At run time, function by function. Two modules of a room may name each other's types to a checker, as data.imageset and
    data.content do: nothing is exempt beside that."""
    graph = {module_of(path): imports(path, typing=False) for path in files() if module_of(path)}
    assert not circle(graph)
    rooms: dict[str, set[str]] = {}
    for path in files():
        own = room(module_of(path))
        rooms.setdefault(own, set()).update({room(other) for other in imports(path)} - {own})
    del rooms[""]  # the package itself, whose names are those of its rooms
    assert not circle(rooms)


@pytest.mark.parametrize(
    ("line", "typing"),
    [
        ("import escrime.attacks.fgsm as f", True),
        ("def later():\n    import os, escrime.attacks.fgsm", True),
        ("async def later():\n    from ..attacks import fgsm", True),
        ("from ..attacks.fgsm import FGSM", True),
        ("if TYPE_CHECKING:\n    from ..attacks.fgsm import FGSM", False),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import escrime.attacks.fgsm", True),
    ],
)
def test_every_kind_of_import_is_seen(line, typing, tmp_path):
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "some.py"
    path.write_text(line)
    assert imports(path, home=tmp_path) == {"attacks.fgsm"}
    assert imports(path, typing=False, home=tmp_path) == ({"attacks.fgsm"} if typing else set())


def test_a_circle_is_named():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == "b → c → b" and not circle({"a": {"b", "c"}, "b": {"c"}})


def test_no_file_is_too_long():
    long = {module_of(path): n for path in files() if (n := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert not long


def test_threat_levels_are_written_out_in_one_place():
    """Anywhere else they are results.threats' names. The same words stand for other things too: the way of an attempt, the id
    of a finding, a key of claims.json; and `--against` names its default."""
    levels = {"white-box", "black-box", "transfer", "adaptive"}
    others = {"evaluation/checks/search.py", "evaluation/checks/examine.py", "report/claims/verdicts.py", "cli/tune.py"}
    others |= {"results/reasons.py"}
    found = {
        str(path.relative_to(HOME))
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in levels
    }
    assert found - others == {"results/threats.py"}


def test_what_stands_for_no_class_needs_no_torch():
    for module in ("no_class", "access", "results.threats"):
        path = place(f"escrime.{module}")
        assert not imports(path) and "torch" not in path.read_text(encoding="utf-8"), module
