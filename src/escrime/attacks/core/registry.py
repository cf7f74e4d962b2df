"""Every attack by its name: found in this folder, so that one more is one more file, and made from checked settings."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from ...access import ACCESS
from ...discovery import modules_in
from ...errors import EscrimeError, nearest
from ...norms import NORMS, check_works_in
from ...validation import check_choice
from .base import Attack, Kind

ATTACKS: dict[str, type[Attack]] = {}  # every attack by its name, once escrime.attacks is imported, which fills it


def find_attacks(package: str, folders: Iterable[str]) -> dict[str, type[Attack]]:
    """Class name → class, sorted: the public dataclasses that derive from Attack, of every module in the folders of `package`.

    Args:
        package: Its name.
        folders: Where its modules are.

    Returns:
        The classes.

    Raises:
        TypeError: For a class that does not describe itself, naming the file and what is missing.
    """
    found: dict[str, type[Attack]] = {}
    for module in modules_in(package, folders):
        for what, thing in vars(module).items():
            own = isinstance(thing, type) and issubclass(thing, Attack) and thing.__module__ == module.__name__
            if own and not what.startswith("_") and "__dataclass_fields__" in vars(thing):
                found[what] = _described(thing)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _described(attack: type[Attack]) -> type[Attack]:
    needed = {
        "norms": (bool(attack.norms) and set(attack.norms) <= set(NORMS), f"a tuple of {tuple(NORMS)}"),
        "access": (attack.access in ACCESS, f"one of {ACCESS}"),
        "kind": (attack.kind in get_args(Kind), f"one of {get_args(Kind)}"),
        "paper": (bool(attack.paper), "authors, year, title and arXiv number in one line"),
    }
    for name, (fine, what) in needed.items():
        if not fine:
            where = f"{attack.__module__}.{attack.__name__}.{name}"
            raise TypeError(f"{where} = {getattr(attack, name)!r} does not describe the attack; give {what} (see Attack).")
    return attack


def settings_of(attack: type[Attack]) -> dict[str, Any]:
    """Setting → its type, of all that can be chosen beside the budget."""
    hints = get_type_hints(attack)
    return {field.name: hints[field.name] for field in fields(attack) if field.name != "eps"}  # type: ignore[arg-type]


def by_name() -> dict[str, type[Attack]]:
    """The attacks that ε and plain values make, so that they can be asked for by name; WorstCase takes another attack."""
    return {name: attack for name, attack in ATTACKS.items() if "eps" in attack.__dataclass_fields__}  # type: ignore[attr-defined]


def named(name: str) -> type[Attack]:
    """The attack of `by_name` that is called so; EscrimeError with the nearest one where none is."""
    choices = by_name()
    return choices[check_choice("attack", name, choices)]


def as_run(name: str) -> dict[str, dict[str, Any]]:
    """Label → settings, of what is run where the attack `name` is asked for and nothing else is said."""
    return named(name).variants or {name: named(name).usual}


def sees(attack: type[Attack], given: str) -> bool:
    """Whether it can attack a model that gives away "gradients", "scores" or "labels"."""
    return ACCESS.index(attack.access or ACCESS[-1]) <= ACCESS.index(given)


def make(attack: type[Attack], eps: float | str | None, norm: str | None = None, **settings: Any) -> Attack:
    """An attack from what a file or a command line gives.

    Args:
        attack: Its class.
        eps: The budget.
        norm: None for the attack's own.
        settings: All others.

    Returns:
        The attack, its settings checked.

    Raises:
        EscrimeError: For a norm it does not work in, an unknown setting, and a value of another type or out of range.
    """
    if norm is not None:
        check_works_in(attack.__name__, attack.norms, norm)
    known = settings_of(attack)
    if norm is not None and "norm" in known:
        settings = {"norm": norm} | settings
    for name in settings:
        if name not in known:
            raise EscrimeError(unknown_setting(attack, name))
    return attack(eps, **settings)  # type: ignore[call-arg]


def unknown_setting(attack: type[Attack], name: str) -> str:
    known = settings_of(attack)
    return f"{attack.__name__} has no setting {name!r}; it takes {', '.join(known)}.{nearest(name, known)}"
