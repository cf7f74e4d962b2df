"""Experiment files: those that come with escrime, and reading one. Nothing here waits for torch."""

import re
import tomllib
from pathlib import Path
from typing import Any

from ...errors import EscrimeError, nearest
from ...regular_files import read_text

SHIPPED = Path(__file__).parent / "shipped"
DEEPEST = 32  # tables within tables, and parts of a key
# From the start of a word only, and never back: the time grows with the length of the text alone.
DEEP_KEY = re.compile(rf"(?<![^\s.=,{{}}\[\]])(?:[^\s.=,{{}}\[\]]++[ \t]*+\.[ \t]*+){{{DEEPEST}}}")


def shipped() -> dict[str, Path]:
    """The experiments that come with escrime, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def title(path: Path) -> str:
    """The title of an experiment that comes with escrime."""
    return tomllib.loads(path.read_text(encoding="utf-8"))["title"]


def read_experiment(name_or_path: str) -> tuple[str, dict[str, Any]]:
    """The name and the raw settings of a shipped experiment or of a user's own TOML file."""
    path = shipped().get(name_or_path, Path(name_or_path))
    if path.suffix != ".toml":
        raise EscrimeError(
            f"experiment {name_or_path!r} is unknown; use one of {', '.join(shipped())}, or a file ending in .toml."
            + nearest(name_or_path, shipped())
        )
    try:
        text = read_text(path, "experiment file", "an experiment is a file in TOML")
        if DEEP_KEY.search(text):  # the reader takes time that grows with the square of the parts
            raise EscrimeError(f"experiment file {path} has a key of more than {DEEPEST} parts; no setting is called so.")
        raw = tomllib.loads(text)
        if _depth(raw) > DEEPEST:
            raise RecursionError
        return path.stem, raw
    except EscrimeError:
        raise
    except RecursionError:
        raise EscrimeError(f"experiment file {path} is nested more than {DEEPEST} deep; no experiment is.") from None
    except ValueError as error:  # no TOML, a number of more digits than Python reads
        raise EscrimeError(f"experiment file {path} is not valid TOML: {str(error).rstrip('.')}.") from None


def _depth(value: Any, deep: int = 0) -> int:
    """How deep tables and arrays are nested; no further than is refused."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return deep if deep > DEEPEST else max((_depth(each, deep + 1) for each in inside), default=deep)
