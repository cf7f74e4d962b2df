"""What settings and objectives share: an unknown name becomes one sentence."""

from dataclasses import Field, fields
from typing import Any, ClassVar, Self

from ..errors import EscrimeError, nearest
from ..validation import CheckedFields


class Checked(CheckedFields):
    """Base of frozen keyword-only dataclasses: a keyword that is no field is refused, with the nearest valid one."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # every subclass is a dataclass

    def __new__(cls, *positional: object, **settings: object) -> Self:
        names = [field.name for field in fields(cls)]
        if positional:
            raise EscrimeError(f"{cls.__name__} takes its settings by name: {', '.join(names) or 'it has none'}.")
        for name in settings:
            if name not in names:
                settings_there = ", ".join(names) or "none"
                raise EscrimeError(f"{cls.__name__} has no setting {name!r}; it has {settings_there}.{nearest(name, names)}")
        return super().__new__(cls)
