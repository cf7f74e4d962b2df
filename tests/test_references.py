"""Names and files of this repository that prose mentions, in documents, docstrings and comments: each exists."""

import ast
import importlib
import inspect
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROSE = [*ROOT.glob("*.md"), *(path for kind in ("*.md", "*.py", "*.toml") for path in (ROOT / "docs").rglob(kind))]
PROSE += [path for kind in ("*.md", "*.py") for path in (ROOT / "benchmarks").rglob(kind)]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
NAME = re.compile(r"(?<![\w./@-])escrime((?:\.[A-Za-z_]\w*)+)")
# src/…, tests/…, and what stands in a room of the package: attacks/core/base.py. Not a placeholder (DIR, NAME, mine).
ROOMS = sorted(path.name for path in (ROOT / "src" / "escrime").iterdir() if path.is_dir() and path.name != "__pycache__")
# What stands in a room, without the package before it: evaluation.Effort, models.SPECS.
SHORT = re.compile(rf"(?<![\w./@-])((?:{'|'.join(ROOMS)})(?:\.[a-z_]\w*)*\.[A-Z]\w+)")
TREE = r"(?:src|tests|benchmarks|docs)/[\w./-]*[\w/]"
ROOM = rf"(?:{'|'.join(ROOMS)})/(?:[\w./-]*\.py|(?:\w+/)*(?=`))"
PATH = re.compile(rf"(?<![\w./<>-])({TREE}|{ROOM})(?![\w*{{…<])")
OTHERS = {"transform_input", "bvlc_googlenet"}  # names of torchvision and Caffe
MADE = {"docs/results/leaderboard/", "docs/results/threats/"}  # by its first row
FILE_ENDINGS = {"toml", "json", "onnx", "png", "py", "pt2", "safetensors"}  # such as escrime.toml


def prose(path: Path) -> str:
    """The text of a document; of a module its comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py" or not path.is_relative_to(ROOT / "src"):
        return text
    comments = [
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    ]
    return "\n".join([*comments, *docstrings(text)])


def docstrings(text: str) -> list[str]:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, holders)]


def exists(dotted: str) -> bool:
    """Whether escrime.x.y is a module, or what one holds, or a field or method of that."""
    parts = dotted.split(".")
    for at in range(len(parts), 0, -1):
        try:
            held = importlib.import_module(".".join(parts[:at]))
        except ModuleNotFoundError:
            continue
        for part in parts[at:]:
            if not hasattr(held, part) and part not in getattr(held, "__annotations__", {}):
                return False
            held = getattr(held, part, None)
        return True
    return False


def stale(text: str) -> list[str]:
    """What a text mentions that does not exist."""
    names = {f"escrime{found}" for found in NAME.findall(text)} | {f"escrime.{found}" for found in SHORT.findall(text)}
    gone = {name for name in names if name.rpartition(".")[2] not in FILE_ENDINGS and not exists(name)}
    bases = (ROOT, ROOT / "src" / "escrime")
    gone |= {path for path in set(PATH.findall(text)) - MADE if not any((base / path).exists() for base in bases)}
    return sorted(mention for mention in gone if not re.search(r"\b[A-Z]{4,}\b", mention))  # NAME, CLASS: a placeholder


@pytest.mark.parametrize("path", [*PROSE, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_prose_mentions_exists(path):
    assert not stale(prose(path))


def words_of_code(path: Path) -> set[str]:
    """Every name in a module's code, and every word of its strings that are no docstrings."""
    text = path.read_text(encoding="utf-8")
    told = {line for doc in docstrings(text) for line in [doc.strip()]}
    words = set(path.relative_to(ROOT).with_suffix("").parts)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            words.add(token.string)
        elif token.type not in (tokenize.COMMENT, tokenize.NL) and inspect.cleandoc(token.string.strip("\"'")) not in told:
            words.update(re.findall(r"\w+", token.string))
    return words


def test_names_between_backticks_exist():
    """One that stands nowhere in the code has been renamed, as `numerical_gap` was."""
    known = set().union(*map(words_of_code, SOURCES)) | OTHERS
    gone = {
        f"{path.relative_to(ROOT)}: {word}"
        for path in SOURCES
        for word in re.findall(r"`(\w*_\w+)`", prose(path))
        if word not in known
    }
    assert not gone


def test_a_stale_mention_is_found():
    text = "escrime.data.lod, escrime.report.formats; src/escrime/nowhere.py, tests/data/test_folder.py, `models/kernels.py`,"
    text += " evaluation.checks.verdict.Verdict"
    assert len(stale(text)) == 6
    assert not stale("escrime.data.load, escrime.models.fast.prepare.prepare; src/escrime/data/, models/fast/prepare.py")
    assert exists("escrime.data.ImageSet.batch") and not exists("escrime.data.ImageSet.bath")
