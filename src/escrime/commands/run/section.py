"""What every section of an experiment's TOML file is: typed, strict, and part of file names only under names that make some."""

import re
from collections.abc import Iterable

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from ...validation import check_whole

LONGEST_NAME = 60  # two names, an attack and a suffix make a file name, and file systems stop at 255 bytes


def whole(low: int = 1, of: str = "") -> BeforeValidator:
    """What makes of `int` a whole number from `low`; of: what it counts."""

    def check(value: object, info: ValidationInfo) -> int:
        return check_whole(info.field_name or "it", value, low, of=of)

    return BeforeValidator(check)


class Section(BaseModel):
    # Strict: true is no number, and 5.5 no count.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def check_names(what: str, names: Iterable[str], example: str, reserved: tuple[str, ...] = ()) -> None:
    """Refuse names that do not make file names, each one its own also where case does not count."""
    spelled: dict[str, str] = {}
    for name in names:
        _check_name(what, name, example, reserved)
        other = spelled.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{other!r} and {name!r} would be one file where case does not count; rename one of them.")


def _check_name(what: str, name: str, example: str, reserved: tuple[str, ...] = ()) -> None:
    """Refuse a name that cannot be part of a file name, or could be read as two."""
    if name in reserved or len(name) > LONGEST_NAME or not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*", name):
        none_of = f", and none of {', '.join(reserved)}" if reserved else ""
        raise ValueError(
            f"a {what} cannot be called {name!r}; use letters, digits, dots, underscores and single hyphens, "
            f"at most {LONGEST_NAME} in all{none_of}, such as {example}."
        )
