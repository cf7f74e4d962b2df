"""Checks, found in the folder they lie in: one more is one more file, or one more decorated function, and no list names it."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import TypeVar

from ...discovery import modules_in
from ..findings import Finding

LAST = 1000  # the place of a check that asks for none
Check = TypeVar("Check", bound=Callable[..., list[Finding]])


class Checks:
    """The checks of one kind in the modules of `package`.

    A check is a function that returns findings and is decorated by the kind, as in `@record_check()`. It takes what it names:
    the kinds below and in evaluation/checks/registry.py list what there is to name.
    """

    def __init__(self, package: str):
        self.package = package
        self._places: dict[Callable[..., list[Finding]], int] = {}

    def __call__(self, place: int = LAST) -> Callable[[Check], Check]:
        """Decorate a check of this kind; findings stand in the order of the places, then of the checks' names."""

        def keep(check: Check) -> Check:
            self._places[check] = place
            return check

        return keep

    def findings(self, **given: object) -> list[Finding]:
        """What all checks of this kind find in what is `given`, by name."""
        modules_in(self.package, import_module(self.package).__path__)
        order = sorted(self._places, key=lambda check: (self._places[check], check.__name__))
        return [f for check in order for f in check(**{name: given[name] for name in signature(check).parameters})]


# records: a DataFrame with one row per (model, defense, threat, attack, norm, ε, image). curves: the same as a Curve for each
# attack on each case. reasons: why attacks failed, by MODEL--DEFENSE--THREAT--ATTACK.
record_check = Checks(__package__)
