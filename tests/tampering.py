"""A run folder as a stranger might send it: one seeded change at a time, of bytes, values, names, links and kinds of files."""

import json
import os
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

DEEP = 100_000  # brackets: more than any parser's stack
TEXTS = (
    "",
    "x",
    "..",
    "../../sentinel/keep.txt",
    "/etc/passwd",
    "a/b",
    "\x1b[31mred",
    "two\nlines",
    "nul\0",
    "\u202eevil",
    "é" * 5000,
)
NUMBERS = (-1, 0, 1, 5.0, 0.5, -0.5, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), 1.0000001)
VALUES = (*TEXTS, *NUMBERS, None, True, False, [], {}, [[]], [1, "x"], {"a": {}}, "\ud800", {"\ud800": 1}, {"..": []})


def tamper(folder: Path, sentinel: Path, rng: Random) -> str:
    """Change one thing in `folder`; return what was done. sentinel: a folder outside, to which links lead."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    by = {kind: [path for path in files if path.suffix == f".{kind}"] for kind in ("json", "parquet", "npz", "csv")}
    ways = [link, link, kind, rename, remove, truncate, flip, garbage, *[value] * 8]
    ways += [column] * 6 if by["parquet"] else []
    ways += [arrays] if by["npz"] else []
    ways += [log] if by["csv"] else []
    way = rng.choice(ways)
    pool = {value: by["json"], column: by["parquet"], arrays: by["npz"], log: by["csv"]}.get(way, files)
    path = rng.choice(pool)
    return f"{way.__name__} of {path.relative_to(folder)}: {way(path, sentinel, rng)}"


def link(path: Path, sentinel: Path, rng: Random) -> str:
    """The file, or the folder it lies in, becomes a link; or a new name of ours is one."""
    root = next(p for p in (path, *path.parents) if p.parent.name == "tampered")
    names = (".lock", "figures", "claims.json", "report.html", "answer.json", "checks", "report.pdf", "examples", "records")
    names += (
        "checkpoints",
        "analysis",
        "training",
        "manifest.json",
        "verdict.json",
        "checks.json",
        "checkpoints/x.safetensors",
    )
    place = rng.choice([path, path, root / rng.choice(names)])
    target = rng.choice([sentinel / "keep.txt", sentinel / "folder", sentinel / "nothing", place, Path("/dev/zero"), root])
    clear(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return f"{place.name} → {target.name}"


def kind(path: Path, sentinel: Path, rng: Random) -> str:
    """A pipe, or a folder with something in it, where a file was."""
    clear(path)
    if rng.random() < 0.5:
        os.mkfifo(path)
        return "pipe"
    (path / "inside").mkdir(parents=True)
    return "folder"


def rename(path: Path, sentinel: Path, rng: Random) -> str:
    name = rng.choice(["x\x1b[0m", "two\nlines", "é" * 60, ".hidden", "-rf", "a--b--c--d--e", "x"]) + path.suffix
    path.rename(path.with_name(name))
    return ascii(name)


def remove(path: Path, sentinel: Path, rng: Random) -> str:
    clear(place := rng.choice([path, path, path.parent]) if path.parent.parent.name != "tampered" else path)
    return place.name


def truncate(path: Path, sentinel: Path, rng: Random) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: (at := rng.randrange(len(content) + 1))])
    return str(at)


def flip(path: Path, sentinel: Path, rng: Random) -> str:
    content = bytearray(path.read_bytes() or b"\0")
    for _ in range(rng.choice([1, 1, 4, 30])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content))
    return "bytes"


def garbage(path: Path, sentinel: Path, rng: Random) -> str:
    content = rng.choice(
        [b"", b"\0" * 64, b"[" * DEEP, b'{"a":' * DEEP, b"\xff\xfe\0", b"PAR1", b"PK\x03\x04", b"null", b"1e999", b"{}"]
    )
    path.write_bytes(content)
    return ascii(content[:8])


def value(path: Path, sentinel: Path, rng: Random) -> str:
    """One value somewhere in a JSON file is another, gone, twice there, or under another name."""
    content = json.loads(path.read_text(encoding="utf-8"))
    where, holder = [], content
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = rng.choice(keys)
        where.append(key)
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.25:
            break
        holder = holder[key]
    new, what = rng.choice(VALUES), rng.randrange(6)
    if not where:
        content = new
    elif what == 0:
        del holder[key]
        new = "gone"
    elif what == 1 and isinstance(holder, dict):
        holder[rng.choice([text for text in TEXTS])] = holder.pop(key)
        new = "renamed"
    elif what == 1:
        holder.append(holder[key])
        new = "twice"
    else:
        holder[key] = new
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{where} = {ascii(new)[:60]}"


def column(path: Path, sentinel: Path, rng: Random) -> str:
    """One cell of a part, or a whole column, is another; columns are dropped; rows doubled or gone."""
    table, what = pd.read_parquet(path), rng.randrange(8)
    name = rng.choice(list(table.columns))
    if what == 0:
        table = table.drop(columns=name)
    elif what == 1:
        table = pd.concat([table, table.sample(1, random_state=rng.randrange(99))])
    elif what == 2:
        table = table[: rng.randrange(len(table))]
    elif what == 3:
        table[name] = [rng.choice([["nested"], {"a": 1}, b"\xff\xfe"])] * len(table)
    else:
        texts = table[name].dtype.kind not in "ifub"
        choice = rng.choice(TEXTS if texts else [number for number in NUMBERS if abs(number) < 2**63 or number != number])
        rows = rng.choice([slice(None), [rng.randrange(len(table))]])
        cells = table[name].astype(object).to_numpy().copy()
        cells[rows] = choice
        kinds = [object] if texts else [float] if name not in ("label", "target", "prediction", "draws") else [float, "int64"]
        with np.errstate(invalid="ignore"):
            chosen = rng.choice(kinds)
            whole = chosen != "int64" or all(float(cell).is_integer() and abs(cell) < 2**63 for cell in cells)
            table[name] = pd.Series(cells, index=table.index).astype(chosen if whole else float)
        return f"{name}{'' if rows == slice(None) else rows} = {ascii(choice)[:60]}"
    table.to_parquet(path, index=False)
    return f"{name}, way {what}"


def arrays(path: Path, sentinel: Path, rng: Random) -> str:
    """Pictures of another shape, kind or content; objects, which only a pickle can hold; a header that lies."""
    stored = dict(np.load(path))
    name = rng.choice(sorted(stored))
    old = stored[name]
    new = rng.choice(
        [
            old[..., :-1],
            old[0],
            old[None],
            np.full_like(old, np.nan),
            old * 1e30,
            old.astype(np.int64),
            np.array([os.getcwd], dtype=object),
            np.zeros(0, np.float32),
            np.float32(1),
        ]
    )
    what = rng.randrange(3)
    if what == 0:
        del stored[name]
    else:
        stored[name] = new
    np.savez(path, **stored)
    return f"{name} {'gone' if what == 0 else (new.dtype, new.shape)}"


def log(path: Path, sentinel: Path, rng: Random) -> str:
    text = rng.choice(
        [
            "epoch\nx\n",
            "epoch,loss\n1,\x1b[31m\n",
            "a,b\n1,2,3\n1\n",
            '"',
            "epoch\n1e999\n",
            "\0\0",
            "epoch,epoch\n1,1\n",
            "é\n1\n",
        ]
    )
    path.write_text(text, encoding=rng.choice(["utf-8", "utf-16"]))
    return ascii(text)


def clear(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def state(folder: Path) -> dict[str, bytes | str]:
    """All that lies in a folder: contents of files, kinds of the rest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kept = path.read_bytes() if path.is_file() else "folder" if path.is_dir() else "other"
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o}".encode() + kept if isinstance(kept, bytes) else kept
    return found
