"""What is called how in a store: parts of the records, examinations and failures, by model, defense, threat and attack."""

from collections.abc import Iterable

from .threats import DEPLOYED

BETWEEN = "--"  # of the names in a key; none of them holds it (see rows.no_name)


def joined(names: Iterable[str]) -> str:
    """The key of a case (model, defense, threat), or of all parts of an attack on one (…, attack)."""
    return BETWEEN.join(names)


def names_in(key: str) -> tuple[str, ...]:
    """The names that `joined` has put together."""
    return tuple(key.split(BETWEEN))


def part_key(name: str, index: int, start: int | None = None) -> str:
    """The key of a slice of the images, or of a chunk of it that begins at `start`; name: of all parts of the attack."""
    return f"{name}{BETWEEN}{index:05d}" if start is None else f"{name}{BETWEEN}{index:05d}-{start:02d}"


def slice_of(key: str) -> int:
    """The number of the slice that a part holds, or a chunk of."""
    return int(key.rpartition(BETWEEN)[2].partition("-")[0])


def of_deployed(key: str) -> bool:
    """Whether a part is about a deployed model; such rows are kept apart from the records."""
    return names_in(key)[2:3] == (DEPLOYED,)


def parts_of(names: Iterable[str]) -> str:
    """How the keys of all parts of an attack, or of a case, begin."""
    return joined(names) + BETWEEN


def last_of(key: str) -> tuple[str, str]:
    """(what comes before, the last name), as of an examination: its case and its norm."""
    before, _, last = key.rpartition(BETWEEN)
    return before, last
