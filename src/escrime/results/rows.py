"""The columns of a record and what each may hold: checked for a whole Parquet part at once."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute as pc
from pyarrow import parquet

from ..budgets import eps_text
from ..errors import EscrimeError, shortened
from ..no_class import NO_CLASS, NO_TARGET
from ..norms import NORMS
from .layout import check_file
from .threats import THREATS

COLUMNS = {
    "model": "string",
    "defense": "string",  # "none", "ppa", "adversarial-training", ...
    "threat": "string",  # "white-box" ("black-box" without gradients), "transfer", of a defense "adaptive"; see threats.py
    "attack": "string",  # "none" on clean rows
    "norm": "string",
    "eps": "float64",
    "image": "string",
    "subsets": "string",  # space-joined names, "" when the data has none
    "label": "int64",
    "target": "int64",  # NO_TARGET for an untargeted attack
    "clean_prediction": "int64",
    "clean_confidence": "float64",
    "prediction": "int64",
    "confidence": "float64",
    "correct": "float64",  # expectation over fresh noise for a randomized model
    "preliminary": "float64",  # `correct` over other draws: attacks are compared by this one, and scored by `correct`
    "hit": "float64",  # the same for "predicted as the target"
    "draws": "int64",
    "distance": "float64",
    "forwards": "float64",
    "backwards": "float64",
    "verified": "bool",
    "survives_8bit": "bool",
    "seed": "int64",
}
UNIQUE = ["model", "defense", "threat", "attack", "norm", "eps", "image"]

OTHERS = {"eps_max": "float64", "samples": "int64", "condition": "string"}
# Of the parts of `escrime tune`; `correct` of PPA with this ε_max and N.
TUNED = {
    name: (COLUMNS | OTHERS)[name]
    for name in ("image", "label", "eps_max", "samples", "condition", "correct", "forwards", "backwards")
}
ARROW = {"string": pyarrow.large_string(), "float64": pyarrow.float64(), "int64": pyarrow.int64(), "bool": pyarrow.bool_()}
OPTIONAL = ("preliminary",)  # which runs of earlier versions lack, or parts of them
COUNT = 2**53  # the largest whole number that a float holds too
SHARE = (-1e-6, 1 + 1e-6)  # a sum of float32 probabilities may pass 1 by its last bits
RANGES = {
    **dict.fromkeys(("correct", "preliminary", "hit", "confidence", "clean_confidence"), SHARE),
    **dict.fromkeys(("prediction", "clean_prediction"), (NO_CLASS, 2**31)),
    "label": (0, 2**31),
    **dict.fromkeys(("eps", "eps_max"), (0, 1e6)),
    **dict.fromkeys(("distance", "forwards", "backwards"), (0, COUNT)),
    **dict.fromkeys(("draws", "samples"), (0, 2**31)),
    "target": (NO_TARGET, 2**31),
}
# NaN for an attack of the user's own, whose passes nobody counts, and for one that failed, which moved no image.
UNCOUNTED = ("forwards", "backwards", "distance")
HOLES = OPTIONAL + UNCOUNTED
ROWS = 10_000_000  # of one part: a part of ours has some thousands
UNPACKED = 2 * 2**30  # bytes of all parts, every text in its row: some millions of rows
MOST = {"model": 100, "defense": 100, "attack": 500, "eps": 1000}  # of each; every one is drawn, and has its row in tables
MOST_SUBSETS, MOST_CASES = 20, 20_000  # names of subsets; of UNIQUE all but the image
LONGEST, LONGEST_NAME = 4096, 200  # letters of a text; bytes of a name
NAMES = ("model", "defense", "attack")  # which are parts of file names and stand in sentences
REMEDY = "delete that part and run again"


def read_rows(path: Path, columns: Iterable[str] = COLUMNS) -> pyarrow.Table:
    """One Parquet part: exactly `columns`, each of its type and range; `preliminary` may be missing or have holes.

    Errors: EscrimeError that names the file, for one that is damaged or of another program, and the column and row, from 0,
    for a value that no run writes.
    """
    return _checked(path, _stored(path, list(columns)))


def read_all(paths: Sequence[Path], columns: Iterable[str] = COLUMNS) -> pd.DataFrame:
    """The parts as one DataFrame. Errors: as of `read_rows`."""
    wanted = list(columns)
    stored, size = [], 0
    for path in paths:
        stored.append(_stored(path, wanted))
        size += _unpacked(stored[-1])
        if size > UNPACKED:
            raise EscrimeError(f"records {path} and those before it unpack to more than {UNPACKED // 2**30} GiB; {REMEDY}.")
    try:  # joined before they are looked at and before pandas sees them: a run has hundreds of small parts
        table = _checked(paths[0], pyarrow.concat_tables(stored, promote_options="default"))
    except (EscrimeError, ValueError, TypeError):  # of one of them, or of kinds that cannot be joined: which one?
        table = pyarrow.concat_tables([_checked(*part) for part in zip(paths, stored)], promote_options="default")
    texts = {ARROW["string"]: pd.StringDtype()}
    return table.to_pandas(types_mapper=texts.get)


def held_twice(row: Mapping[str, Any], where: str = "") -> EscrimeError:
    """What is wrong with records (in words: where) that hold `row` twice, which would count its image twice."""
    about = ", ".join(str(row[name]) for name in UNIQUE if name in row and name not in ("image", "eps"))
    return EscrimeError(
        f"the records{where} hold the image {row['image']!r} twice for {about}, ε = {eps_text(row['eps'])}: two runs wrote "
        "into one folder; delete its records and run the experiment again."
    )


def check_unique(records: pd.DataFrame, folder: Path) -> None:
    """Errors: EscrimeError where two rows are about the same thing, or an image has two labels."""
    _check_few(records, folder)
    codes = [pd.factorize(records[name])[0] for name in UNIQUE if name != "eps"]
    key = np.column_stack([*codes, pd.factorize(records["eps"].round(9))[0]])
    doubled = pd.DataFrame(key).duplicated().to_numpy()
    if doubled.any():
        row = records.iloc[int(doubled.argmax())]
        raise held_twice(dict(row), f" in {folder}")
    pairs = pd.DataFrame({"model": codes[0], "image": codes[-1], "label": records["label"].to_numpy()}).drop_duplicates()
    twice = pairs.duplicated(["model", "image"]).to_numpy()
    if twice.any():
        row = records.loc[pairs.index[int(twice.argmax())]]
        raise EscrimeError(
            f"the records in {folder} give the image {row['image']!r} two labels; delete them and run the experiment again."
        )


def _check_few(records: pd.DataFrame, folder: Path) -> None:
    """Errors: EscrimeError for records of so many things that no report of them would ever be finished."""
    counts = {name: (records[name].nunique(), most) for name, most in MOST.items()}
    subsets = {name for names in records["subsets"].unique() for name in names.split(" ")}
    counts["subset"] = len(subsets), MOST_SUBSETS
    counts["combination of them"] = len(records[[name for name in UNIQUE if name != "image"]].drop_duplicates()), MOST_CASES
    for what, (count, most) in counts.items():
        if count > most:
            raise EscrimeError(
                f"the records in {folder} are of {count:,} different values of {what}, where {most:,} would be many; keep the "
                "parts that matter, and run the experiment again."
            )


def _kind(name: str) -> str:
    return COLUMNS.get(name) or OTHERS[name]


def _stored(path: Path, wanted: list[str]) -> pyarrow.Table:
    """The `wanted` columns as they are stored, none of them missing."""
    check_file(path)
    texts = [name for name in wanted if _kind(name) == "string"]
    try:
        # A text that is repeated is stored once: as a dictionary, a small file cannot become a large table.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            if file.metadata.num_rows > ROWS:
                raise ValueError(f"it claims to have {file.metadata.num_rows:,} rows")
            there = file.schema_arrow.names
            if twice := sorted({name for name in wanted if there.count(name) > 1}):
                raise ValueError(f"it has several columns {shortened(twice)}")
            table = file.read([name for name in wanted if name in there], use_threads=False)
        table.validate(full=True)
    except KeyError as error:  # of `read_dictionary`: a column that is not there, or no text
        raise EscrimeError(f"records {path} lack {error.args[0].decode()}, or it is no text; {REMEDY}.") from None
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EscrimeError(f"records {path} cannot be read ({reason}); {REMEDY}.") from error
    if lacks := [name for name in wanted if name not in table.column_names and name not in OPTIONAL]:
        raise EscrimeError(f"records {path} lack {shortened(lacks)}: they are of another program or version; {REMEDY}.")
    return table.select([name for name in wanted if name in table.column_names]).replace_schema_metadata(None)


def _unpacked(table: pyarrow.Table) -> int:
    """The bytes of a table as it is stored, once every text stands in its row: a small file may hold one a million times."""
    size = 0
    for column in table.columns:
        if pyarrow.types.is_dictionary(column.type):
            lengths = (pc.take(pc.binary_length(part.dictionary), part.indices) for part in column.chunks)
            size += sum(pc.sum(part).as_py() or 0 for part in lengths)
        else:
            size += column.nbytes
    return size


def _checked(path: Path, table: pyarrow.Table) -> pyarrow.Table:
    """The columns in their types. Errors: EscrimeError for what no run writes."""
    table = pyarrow.table({name: _column(path, name, table[name]) for name in table.column_names})
    if "norm" in table.column_names:
        for known in NORMS.values():
            wide = pc.and_(pc.greater(table["eps"], known.largest), pc.equal(table["norm"], known.name))
            if (row := pc.index(wide, pyarrow.scalar(True)).as_py()) >= 0:
                raise _odd(path, "eps", wide, f"{table['eps'][row].as_py()!r}, more than the whole color range in {known.name}")
    return table


def _column(path: Path, name: str, column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """The column in its type. Errors: EscrimeError for another type, a hole, or a value out of range."""
    kind, found = _kind(name), column.type
    is_text = pyarrow.types.is_dictionary(found) and pyarrow.types.is_large_string(_text(found.value_type))
    fits = {
        "string": is_text or pyarrow.types.is_large_string(_text(found)),
        "float64": pyarrow.types.is_floating(found) or pyarrow.types.is_integer(found),
        "int64": pyarrow.types.is_integer(found),
        "bool": pyarrow.types.is_boolean(found),
    }[kind]
    if not fits:
        all_holes = pyarrow.types.is_null(found) and name in HOLES
        if not all_holes:
            raise EscrimeError(f"records {path}: column {name} holds {found} in place of {kind}; {REMEDY}.")
    if column.null_count and name not in HOLES:
        raise _odd(path, name, column.is_null(), "nothing")
    try:
        column = column.cast(ARROW[kind])
    except (ValueError, OverflowError) as error:
        raise EscrimeError(f"records {path}: column {name} holds what is no {kind} ({error}); {REMEDY}.") from None
    if kind == "string":
        _check_texts(path, name, column)
    if name in RANGES:
        low, high = RANGES[name]
        within = pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))  # NaN is neither
        if name in UNCOUNTED:
            within = pc.or_(within, pc.is_nan(column))
        if not pc.all(within).as_py() and len(column.drop_null()):
            wrong = pc.invert(pc.fill_null(within, True))
            if (row := pc.index(wrong, pyarrow.scalar(True)).as_py()) >= 0:
                span = "from 0 to 1" if (low, high) == SHARE else f"from {low:g} to {high:g}"
                raise _odd(path, name, wrong, f"{column[row].as_py()!r}, which is no number {span}")
    return column


def _check_texts(path: Path, name: str, column: pyarrow.ChunkedArray) -> None:
    known = {"threat": THREATS, "norm": NORMS}.get(name)
    longest = LONGEST_NAME if name in NAMES else LONGEST
    for text in pc.unique(column).to_pylist():
        if known is not None and text not in known:
            wrong = f"{_shown(text)}, which is none of {', '.join(known)}"
        elif len(text) > longest:
            wrong = f"a text of {len(text):,} characters"
        elif name in NAMES and (reason := no_name(text)):
            wrong = f"{_shown(text)}, which {reason}"
        elif name == "image" and not text:
            wrong = "an empty name"
        else:
            continue
        raise _odd(path, name, pc.equal(column, text), wrong)


def no_name(text: str) -> str | None:
    """Why `text` is no name of a model, a defense or an attack, as part of a sentence; None where it is one."""
    if not text or text in (".", ".."):
        return "is no name"
    if any(letter in "/\\" or not letter.isprintable() for letter in text):
        return "has a letter that no file name of a run has"
    return "is too long for a name" if len(text.encode("utf-8", "replace")) > LONGEST_NAME else None


def _text(found: pyarrow.DataType) -> pyarrow.DataType:
    """Text is text, however its ends are stored."""
    return ARROW["string"] if pyarrow.types.is_string(found) or pyarrow.types.is_large_string(found) else found


def _shown(text: str) -> str:
    return ascii(text) if len(text) < 60 else ascii(text[:57]) + "..."


def _odd(path: Path, name: str, where: pyarrow.ChunkedArray, what: str) -> EscrimeError:
    row = pc.index(where, pyarrow.scalar(True)).as_py()
    return EscrimeError(f"records {path}, row {row}: {name} is {what}; {REMEDY}.")
