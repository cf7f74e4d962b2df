"""Reading the files of a run folder: never through a link, never more than can be meant, and one sentence for what is odd."""

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from ..errors import EscrimeError
from .layout import check_file

LARGEST = 256 * 2**20  # bytes of a JSON file or a log
PICTURES = 2**30  # bytes of all pictures of a model, unpacked
DEEPEST = 50  # levels of JSON
REBUILT = "delete it and run the experiment again: it will be rebuilt"
NEEDED = "restore it, or run the experiment again in another folder"  # the manifest: without it the folder is nobody's


def read_json(path: Path, schema: type[BaseModel] | None = None, remedy: str | None = None) -> Any:
    """The content of a JSON file of the run folder as it is, after a look at whether it fits the `schema`.

    Errors: EscrimeError that names the file and the field.
    """
    remedy = remedy or (NEEDED if path.name == "manifest.json" else REBUILT)
    try:
        content = _parsed(path)
        if path.name in ("manifest.json", "tune.json") and not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} where an object should be")
    except (OSError, ValueError) as error:
        raise EscrimeError(f"{path} cannot be read ({error}); {remedy}.") from error
    return content if schema is None else fitting(content, schema, path, remedy)


def fitting(content: Any, schema: type[BaseModel], path: Path, remedy: str = REBUILT) -> Any:
    """The `content` of the file `path`, if it fits the `schema`. Errors: EscrimeError that names the file and the field."""
    try:
        schema.model_validate(content)
    except ValidationError as error:
        raise EscrimeError(f"{path} holds what no run writes: {first_fault(error)}; {remedy}.") from None
    return content


def read_text(path: Path) -> str:
    """The text of a file of the run folder. Errors: EscrimeError for a link, OSError, ValueError."""
    check_file(path)
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{size / 2**20:,.0f} MiB, where {LARGEST // 2**20} would be many")
    return path.read_text(encoding="utf-8")


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file of pictures, by name; nothing in it is executed.

    Errors: EscrimeError for a damaged file, for one that unpacks to more than it can hold, and for arrays that are no pictures.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(member.file_size for member in packed.infolist()) > PICTURES:
                raise ValueError(f"it unpacks to more than {PICTURES // 2**30} GiB")
            arrays = {}
            for member in packed.infolist():
                name = member.filename.removesuffix(".npy")
                with packed.open(member) as file:
                    arrays[name] = _picture(name, file, member.file_size)
            return arrays
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise EscrimeError(f"{path} cannot be read ({error}); {REBUILT}.") from error


def read_log(path: Path) -> pd.DataFrame | None:
    """A training log: numbers in named columns, a row per epoch; None for one that has no epoch yet.

    Errors: EscrimeError that names the file and the column.
    """
    try:
        if not read_text(path).strip():
            return None
        log = pd.read_csv(path, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EscrimeError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); {REBUILT}.") from error
    for name in log.columns:
        if len(log) and not pd.api.types.is_numeric_dtype(log[name]):
            raise EscrimeError(f"{path} holds what no run writes: {str(name)!a:.60} is no column of numbers; {REBUILT}.")
    return log


def _parsed(path: Path) -> Any:
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    _check_plain(content)
    return content


def _check_plain(content: Any) -> None:
    """Errors: ValueError for what nothing of ours writes and much stumbles over, wherever it stands."""
    level = [("", content)]
    for _ in range(DEEPEST):
        following = []
        for where, value in level:
            if isinstance(value, str):
                _check_text(where, value)
            elif isinstance(value, int) and abs(value) >= 2**64:
                raise ValueError(f"{where or 'it'} is a number of {len(str(abs(value))):,} digits")
            elif isinstance(value, dict):
                for key in value:
                    _check_text(where, key)
                following += [(f"{where}.{key}" if where else key, item) for key, item in value.items()]
            elif isinstance(value, list):
                following += [(f"{where}[{at}]", item) for at, item in enumerate(value) if not isinstance(item, float)]
        if not following:
            return
        level = following
    raise ValueError(f"nested deeper than {DEEPEST} levels")


def _check_text(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where or 'it'} holds half of a letter, {text[:40]!a}") from None


def first_fault(error: ValidationError) -> str:
    """The first thing that does not fit: field, what is wrong, and the value."""
    found = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    where = where if where.isprintable() else ascii(where)
    what = found["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    value = ascii(found["input"]) if not isinstance(found["input"], dict | list | BaseModel) else ""
    shown = f" ({value if len(value) < 60 else value[:57] + '...'})" if value else ""
    return f"{where[:120] + ': ' if where else ''}{what}{shown}"


def _picture(name: str, file: IO[bytes], size: int) -> np.ndarray:
    """One array of floats (3, H, W) or (E, 3, H, W). Errors: ValueError for anything else."""
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"{name!a:.60} is of a format that is not known")
    shape, fortran, dtype = header(file)
    if dtype.kind != "f" or len(shape) not in (3, 4) or shape[-3] != 3 or min(shape) < 1:
        raise ValueError(f"{name!a:.60} is {dtype} of the shape {shape}, which is no picture")
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise ValueError(f"{name!a:.60} claims to be larger than it is")
    data = file.read(count * dtype.itemsize)
    array = np.frombuffer(data, dtype=dtype, count=count).reshape(shape, order="F" if fortran else "C")
    if not np.isfinite(array).all():
        raise ValueError(f"{name!a:.60} holds NaN or infinity")
    return array
