"""The folder that `escrime attack` writes into: whose files are whose, and with which settings they were made."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ...errors import EscrimeError
from ...results.layout import check_file
from ...results.reading import first_fault, read_json, read_text
from ...results.schema import StoredAttack
from ..shared.folder import AnotherRun, RunFolder, provenance
from ..shared.own_folder import own_folder

DEFAULT = Path("adversarial")
SETTINGS = "attack.json"
LINES = "attacks.jsonl"
ENDINGS = ("-adversarial.png", "-side-by-side.png")  # of the two files of a photo
LONGEST_STEM = 200  # bytes; file systems stop at 255


@dataclass(frozen=True)
class Result:
    """One photo, by its absolute path: what the model predicts for it, and for the PNG as read back from disk; eps in gray
    levels of 255 (null where nothing worked); width and height of the PNG in pixels; digest: of the photo and the PNG,
    by which the same command knows what is finished."""

    photo: str
    adversarial: str | None
    side_by_side: str | None
    fooled: bool
    levels: int | None
    eps: float | None
    target: str | None
    before: str
    before_confidence: float
    after: str
    after_confidence: float
    width: int | None = None
    height: int | None = None
    digest: str | None = None


LINE = TypeAdapter(Result)


def folder_of(question: dict[str, Any], out: Path | None, say: Callable[[str], None]) -> Path:
    """The folder for attacks with these settings, JSON values: `out`, or adversarial/, or a numbered one beside it where that
    holds others. say: told of others in the way.

    Raises:
        EscrimeError: For an `out` that holds attacks with other settings, which these would replace.
    """
    holds = lambda folder: _holds(folder, question)  # noqa: E731
    folder = own_folder(DEFAULT, holds, say) if out is None else RunFolder(out)
    holds(folder)
    return folder.path


def begin(path: Path, question: dict[str, Any], device: str) -> None:
    """Write down with which settings the attacks in the folder are made, where it is new."""
    folder = RunFolder(path)
    if not _holds(folder, question):
        folder.write_json(SETTINGS, {"kind": "attack", **provenance(device), "settings": question})


def _holds(folder: RunFolder, question: dict[str, Any]) -> bool:
    """Whether the folder was begun with these settings, False for one that holds no attacks. AnotherRun for others."""
    if os.path.lexists(folder / SETTINGS):
        remedy = "move it away, or choose another folder with --out"
        folder.refuse_another(read_json(folder / SETTINGS, StoredAttack, remedy), {"settings": question})
        return True
    if lines_in(folder / LINES):
        raise AnotherRun(f"{folder.path} holds attacks whose settings are not known (it has no {SETTINGS})", "unknown settings")
    if folder.path.exists() and not folder.path.is_dir():
        raise AnotherRun(f"{folder.path} is a file", "a file")
    return False


def lines_in(path: Path) -> dict[str, Result]:
    """What earlier calls wrote, by photo. Raises EscrimeError for a file that is not theirs."""
    try:
        lines = read_text(path).split("\n") if os.path.lexists(path) else []
        found = [LINE.validate_json(line, strict=True) for line in lines if line]
        for name in (name for result in found for name in pictures_of(result)):
            if not name.endswith(ENDINGS):
                raise ValueError(f"{name!r} is no name of a picture that an attack writes")
    except EscrimeError:
        raise
    except (OSError, ValueError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error
        raise EscrimeError(
            f"{path} cannot be read as the list of earlier attacks ({reason}); move it away, or choose "
            "another folder with --out."
        ) from None
    return {os.path.abspath(result.photo): result for result in found}


def pictures_of(result: Result) -> list[str]:
    """The names of its files."""
    return [Path(file).name for file in (result.adversarial, result.side_by_side) if file]


def _stem(path: Path) -> str:
    """The name of a photo as far as names made of it, and what they are called while they are written, can be files."""
    return path.stem.encode()[:LONGEST_STEM].decode(errors="ignore")


def files_of(name: str) -> tuple[str, str]:
    png, picture = (name + ending for ending in ENDINGS)
    return png, picture


def names_of(paths: list[Path], lines: dict[str, Result], out: Path) -> list[str]:
    """A name per photo for its files: that of an earlier call, else its own, numbered where another photo has it. Raises
    EscrimeError where such a file exists that no line tells of."""
    ours = {photo: pictures_of(result) for photo, result in lines.items()}
    known = {file for files in ours.values() for file in files}
    taken = {file.lower() for file in known}  # A.png and a.png are one file on some systems
    names = []
    for path in paths:
        before = ours.get(str(path))
        name = before[0].removesuffix(ENDINGS[0]) if before else _stem(path)
        number = 1
        while not before and files_of(name)[0].lower() in taken:
            number += 1
            name = f"{_stem(path)}-{number}"
        taken.add(files_of(name)[0].lower())
        for file in files_of(name):
            check_file(out / file)
            if (out / file).exists() and file not in known:
                raise EscrimeError(
                    f"{out / file} exists already and is not of an attack that {out / LINES} tells of; move it away, or choose "
                    "another folder with --out."
                )
        names.append(name)
    return names
