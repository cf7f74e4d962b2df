"""The modules of a folder, so that one more attack, dataset or objective is one more file and no list names them; and names
imported on first use, so that nobody waits for torch who does not need it."""

import ast
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any


def modules_in(package: str, folders: Iterable[str]) -> list[ModuleType]:
    """Every module in the folders of `package`, imported, by name; what lies in folders within is left out."""
    return [import_module(f"{package}.{name}") for name in sorted(e.name for e in iter_modules(folders) if not e.ispkg)]


@cache
def late_names(package: str) -> dict[str, str]:
    """Name → module, of what the file of `package` imports under TYPE_CHECKING: what a type checker is told is the list that
    `on_first_use` goes by, so the two cannot differ."""
    loader: Any = sys.modules[package].__loader__
    tree = ast.parse(loader.get_source(package))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    lines = [node for body in blocks for node in body if isinstance(node, ast.ImportFrom)]
    named = [(alias.asname or alias.name, "." * line.level + (line.module or "")) for line in lines for alias in line.names]
    return {name: module for name, module in named if name != "*"}


def on_first_use(package: str, name: str) -> Any:
    """What `package` calls `name`, by its `late_names`, or the folder of it that is called so. Raises AttributeError for
    another name, as any module does."""
    if name not in late_names(package):
        if any(each.name == name for each in iter_modules(sys.modules[package].__path__) if each.ispkg):
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(late_names(package)[name], package), name)
