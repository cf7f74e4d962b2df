"""The modules of a folder, so that one more attack, dataset or objective is one more file and no list names them."""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def modules_in(package: str, folders: Iterable[str]) -> list[ModuleType]:
    """Every module in the folders of `package`, imported, by name; what lies in folders within is left out."""
    return [import_module(f"{package}.{name}") for name in sorted(e.name for e in iter_modules(folders) if not e.ispkg)]
