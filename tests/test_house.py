"""The house: arrows point down only, nothing goes in a circle, and no file is longer than can be read in one sitting."""

import ast
from pathlib import Path

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
)
LONGEST = 400  # lines


def imports(path: Path, late: bool) -> set[str]:
    """Modules of escrime that a file imports, without "escrime."; late: those inside of functions too."""
    package = ["escrime", *path.relative_to(HOME).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    inside |= {id(n) for node in typing for n in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (late or id(node) not in inside):
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
        for other in imports(path, late=True):
            if own and room(own) != room(other) and floor(room(other)) <= floor(room(own)) < len(FLOORS):
                up.append(f"{own} → {other}")
            if own and floor(room(own)) == len(FLOORS) > floor(room(other)):
                up.append(f"{own} (below all rooms) → {other}")
    assert not up


def test_no_circles():
    graph = {module_of(path): imports(path, late=False) for path in files() if module_of(path)}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' → '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_file_is_too_long():
    long = {module_of(path): n for path in files() if (n := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert not long
