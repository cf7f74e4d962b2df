"""Settings as the command line gives them, NAME=VALUE. Nothing here waits for torch."""

import json
from typing import Any

from ...errors import EscrimeError
from ...validation import number_of


def _number(text: str) -> int | float | str:
    """A number as JSON does not write it, such as .05, 1. and +5; any other text as it is, 8/255 too: a norm reads it."""
    word = text.strip()  # of all that is space to str, which is more than to int
    if len(text) > 100 or "/" in word:  # of 5,000 digits Python reads no integer
        return text
    try:
        number = number_of(word)
    except (ValueError, OverflowError):
        return text
    return number if set(word) & set(".eE") else int(word)


def parse_settings(pairs: list[str], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """{"ema": 0.999, …} from ["ema=0.999", …], beside settings that have `options` of their own (None: not given).

    Values are JSON or numbers such as .05 where they can be, text otherwise.
    """
    settings = {name: value for name, value in (options or {}).items() if value is not None}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise EscrimeError(f"{pair!r} is no setting; write NAME=VALUE, such as --set ema=0.999.")
        if name in settings:
            raise EscrimeError(f"{pair!r} sets again what is {name} = {settings[name]!r} already; give it once.")
        try:
            settings[name] = json.loads(value)
        except (ValueError, RecursionError):
            settings[name] = _number(value)
    return settings
