"""The names in a run folder, and the law that nothing in it leads out of it."""

import os
import stat
from pathlib import Path

from ..errors import EscrimeError
from ..files import LOCK

SUBFOLDERS = ("records", "checkpoints", "examples", "analysis", "training", "figures")
PERTURBATIONS = "perturbations"  # what universal attacks made, and a picture of each
DEPLOYED = "deployed"  # what was made for a model, judged on the one that is deployed in its place
FOLDERS = (
    *SUBFOLDERS,
    DEPLOYED,
    "checks",
    "failures",
    "checkpoint",
    "parts",
    PERTURBATIONS,
    "tensorboard",
)  # those that only some commands make
MARKS = ("manifest.json", "tune.json", "training.json", "metrics.csv", "weights.safetensors")  # which a folder of ours has
RESULTS = ("checks.json", "verdict.json", "claims.json", "answer.json", "report.html", "report.pdf")
FILES = (*MARKS, LOCK, *RESULTS, "tune.csv", "pareto.png", "pareto.svg", "attack.json", "attacks.jsonl")
KINDS = (".json", ".parquet", ".npz", ".csv", ".txt", ".png", ".svg", ".pdf", ".safetensors")


def perturbation_picture(folder: Path, name: str, eps: float, half: int) -> Path:
    """The picture of what a universal attack made on one half of the images, 0 or 1; name: of the attack on a case (see
    `keys.joined`)."""
    return folder / PERTURBATIONS / f"{name}-eps{eps:g}-half{half + 1}.png"


def check_inside(folder: Path) -> None:
    """Refuse a run folder in which a name of ours is a link, a pipe or a device, or a folder where a file should be and the
    reverse: whoever writes or deletes through one changes what lies elsewhere. `folder` itself may be a link: its owner gave
    it. In a folder that is a run's, no link at all is allowed, below our folders at any depth.

    Errors: EscrimeError that names the first one.
    """
    ours = any(os.path.lexists(folder / name) for name in MARKS)
    for entry in _entries(folder):
        known = entry.name in FILES or entry.name in FOLDERS or entry.name.startswith(".report-")
        if known or (ours and entry.is_symlink()):
            _check(entry, entry.name in FILES)
        if entry.name in FOLDERS:
            if not entry.is_dir(follow_symlinks=False):
                raise EscrimeError(f"{entry.path} is a file where a run has a folder; delete it.")
            _check_below(entry.path)


def check_file(path: Path) -> None:
    """Refuse to read a link, a pipe, a device or a folder where a file of a run is; one that is missing is the reader's affair.

    Errors: EscrimeError that names it.
    """
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISLNK(mode):
        raise EscrimeError(_of_a_link(path))
    if stat.S_ISDIR(mode):
        raise EscrimeError(f"{path} is a folder where a run has a file; delete it.")
    if not stat.S_ISREG(mode):
        raise EscrimeError(f"{path} is a pipe, a socket or a device where a run has a file; delete it.")


def _check_below(folder: str) -> None:
    open_ones = [folder]
    while open_ones:
        for entry in _entries(open_ones.pop()):
            _check(entry, entry.name.endswith(KINDS))
            if entry.is_dir(follow_symlinks=False):
                open_ones.append(entry.path)


def _check(entry: os.DirEntry[str], is_file: bool) -> None:
    """Errors: EscrimeError for an entry that is neither a file nor a folder, and for a folder that should be a file."""
    if is_file or not entry.is_dir(follow_symlinks=False):
        check_file(Path(entry.path))


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in `folder`, sorted; nothing where it is none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise EscrimeError(f"{folder} cannot be read ({error.strerror or error}); check its permissions.") from None


def _of_a_link(path: Path) -> str:
    return (
        f"{path} is a link, and links inside a run folder are not followed, for they may lead anywhere; put the file itself "
        "there (cp -rL copies a folder so), or delete it."
    )
