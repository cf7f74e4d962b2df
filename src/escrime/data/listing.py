"""Folders of images, one subfolder per class: what is in them, and a clear sentence when it is not what it should be."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import EscrimeError, nearest, shortened
from ..regular_files import expanded
from .decode import EXTENSIONS, OTHER_FORMATS

LAYOUT = "expected DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg"
DEEPEST = 50  # folders within folders
OPTION = "--data DIR (of `escrime train`: --folder DIR)"


@dataclass(frozen=True)
class Listing:
    """Image files below `root`: names relative to it with forward slashes, labels int64 (N,), subset masks (N,).

    ignored: name → reason for each picture beside them that is not among them.
    """

    root: Path
    names: tuple[str, ...]
    labels: np.ndarray
    subsets: dict[str, np.ndarray] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def select(self, rows: np.ndarray) -> "Listing":
        """The files at `rows` (indices or mask)."""
        rows = np.arange(len(self.names))[rows]
        subsets = {name: mask[rows] for name, mask in self.subsets.items()}
        return Listing(self.root, tuple(self.names[row] for row in rows), self.labels[rows], subsets, self.ignored)


def existing_folder(folder: Path | str) -> Path:
    """`folder` as a Path.

    Raises:
        EscrimeError: When it is missing, a file, empty, or may not be read.
    """
    path = expanded(folder)
    check_text(path)
    try:
        path.stat()
    except FileNotFoundError:
        raise EscrimeError(f"the data folder {str(path)!r} does not exist; check the spelling of {OPTION}.") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if not path.is_dir():
        raise EscrimeError(f"the data folder {str(path)!r} is a file; unpack it, and give the folder with {OPTION}.")
    if not _entries(path):
        raise EscrimeError(f"the data folder {str(path)!r} is empty; {LAYOUT}.")
    return path


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted, without hidden ones."""
    names = [entry.name for entry in _entries(folder) if _is_folder(entry)]
    for name in names:
        check_text(folder / name)
    return names


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, or a link to one; not where a link leads to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def check_text(path: Path) -> None:
    """Raise EscrimeError for a name that is not UTF-8, which no record of a run could hold."""
    name = os.fsencode(path)
    try:
        name.decode()
    except UnicodeDecodeError:
        shown = name.decode(errors="backslashreplace")
        raise EscrimeError(
            f"the name '{shown}' is not UTF-8, so no result can name it; it was made on another system, perhaps: rename it."
        ) from None
    if b"\0" in name:
        raise EscrimeError(f"the name {str(path)!r} holds a null character, which no file can; check the spelling.")


def list_classes(root: Path, below: str, classes: Sequence[str]) -> Listing:
    """All image files of root/below/CLASS, at any depth, in the order of `classes` and then of their names.

    Raises:
        EscrimeError: For a class folder without images, and for one that is a link to a folder above.
    """
    names: list[str] = []
    labels: list[int] = []
    ignored: dict[str, str] = {}
    for label, name in enumerate(classes):
        left: dict[str, str] = {}
        _refuse_loop(root, root / below / name)
        found = sorted(images_in(root, root / below / name, left))
        if not found:
            raise EscrimeError(f"the class folder {no_images(root / below / name, left)}; add some or remove it.")
        ignored |= left
        names += found
        labels += [label] * len(found)
    return Listing(root, tuple(names), np.array(labels, dtype=np.int64), ignored=ignored)


def _refuse_loop(root: Path, folder: Path) -> None:
    """A class may be a link to a folder elsewhere, but not to one that holds the class itself, and perhaps the whole disk."""
    if folder.is_symlink() and root.resolve().is_relative_to(folder.resolve()):
        raise EscrimeError(
            f"the class folder {str(folder)!r} is a link to a folder that holds {str(root)!r} itself; remove the link."
        )


def warn_of_ignored(root: Path, ignored: dict[str, str], stacklevel: int = 3) -> None:
    """Warn of pictures below `root` that are left out, where there are any."""
    if ignored:
        text = f"{len(ignored):,} beside the images in {str(root)!r} are left out ({_reasons(ignored)})."
        warnings.warn(text, stacklevel=stacklevel)


def class_folders(folder: Path) -> list[str]:
    """The class names in `folder`.

    Raises:
        EscrimeError: When it holds no subfolders.
    """
    classes = subfolders(folder)
    if not classes:
        raise EscrimeError(f"the folder {str(folder)!r} holds no class folders; {LAYOUT}.")
    return classes


def check_same_classes(first: Sequence[str], second: Sequence[str], first_name: str, second_name: str) -> None:
    """Raise EscrimeError naming the classes that only one of the two has."""
    one, other = (first, first_name), (second, second_name)
    for (have, have_name), (lack, lack_name) in ((one, other), (other, one)):
        missing = [name for name in have if name not in lack]
        if missing:
            raise EscrimeError(
                f"{have_name} has the class {shortened(map(repr, missing))}, which {lack_name} lacks; give both the same class "
                "folders." + nearest(missing[0], [name for name in lack if name not in have])
            )


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: OSError) -> EscrimeError:
    reason = error.strerror or error
    return EscrimeError(f"the folder {str(folder)!r} cannot be read ({reason}); check its permissions.")


def no_images(folder: Path, ignored: dict[str, str]) -> str:
    """A sentence about a folder in which `images_in` found none."""
    return f"{str(folder)!r} holds no images ({', '.join(EXTENSIONS)})" + (f", only {_reasons(ignored)}" if ignored else "")


def _reasons(ignored: dict[str, str]) -> str:
    return shortened((f"{name}: {reason}" for name, reason in ignored.items()), between="; ")


def images_in(root: Path, folder: Path, ignored: dict[str, str], depth: int = 0) -> list[str]:
    """The names, relative to `root`, of the image files in `folder`, at any depth; pictures that are left out join `ignored`
    with the reason."""
    names = []
    for entry in _entries(folder):
        path, kind = folder / entry.name, Path(entry.name).suffix.lower()
        if not _is_folder(entry) and kind not in EXTENSIONS + OTHER_FORMATS:
            continue
        check_text(path)
        name = path.relative_to(root).as_posix()
        if entry.is_dir(follow_symlinks=False):
            if depth < DEEPEST:
                names += images_in(root, path, ignored, depth + 1)
            else:
                ignored[name] = f"it lies more than {DEEPEST} folders deep"
        elif _is_folder(entry):  # a link to a folder above would never end
            ignored[name] = "links to folders are not followed"
        elif kind in OTHER_FORMATS:
            ignored[name] = f"{kind} is a format that is not read here; convert it to PNG, say"
        else:
            names.append(name)
    return names
