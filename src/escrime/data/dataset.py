"""What a dataset is: a class with a name, in a file of this folder, that reads train and test images."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ..errors import EscrimeError, shortened
from ..imagenet import titles
from .cache import Decoded, Progress
from .content import fingerprint
from .files import read_files
from .imageset import ImageSet, Splits
from .listing import Listing, warn_of_ignored

PARTS = ("train", "test")
Place = Literal["none", "optional", "needed"]
PLACES: tuple[str, ...] = get_args(Place)
DATASETS: dict[str, "Dataset"] = {}  # what needs nothing from the user comes first


@dataclass(frozen=True)
class Options:
    """How a dataset is to be read, checked (see `load`): train_size and size are the edge lengths of its two parts."""

    split: str | None
    train_size: int
    size: int
    folder: Path | str | None = None
    cache: Path | str | None = None
    download: bool = False
    on_error: str = "raise"
    progress: Progress | None = None

    @property
    def sides(self) -> tuple[int, int]:
        return self.train_size, self.size

    def kept(self, sets: Sequence) -> list:
        """(train, test) with the one that `split` does not ask for emptied."""
        return [part if self.split in (None, what) else part.select([]) for what, part in zip(PARTS, sets, strict=True)]

    def shared_progress(self, counts: Sequence[int]) -> list[Progress | None]:
        """One callback for each of several parts, that together count through all of them."""
        progress = self.progress
        if progress is None:
            return [None] * len(counts)
        starts = np.cumsum([0, *counts]).tolist()

        def from_start(start: int) -> Progress:
            return lambda done, _: progress(start + done, starts[-1])

        return [from_start(start) for start in starts[:-1]]


Listed = tuple[tuple[str, ...], tuple[str, ...] | None, Sequence[Listing]]  # classes, WordNet ids, train and test


class Dataset:
    """Base: a subclass with a `name` registers itself.

    what: one line on it. side: the usual edge length of its images in pixels. folder: "none" where it is built in, "optional"
    where it can be downloaded, "needed" where it is nothing but a folder. imagenet_indices: of its classes among ImageNet's
    thousand, so that the output layer of a pre-trained network can be cut to them; None where they are others.
    """

    name: ClassVar[str] = ""
    what: ClassVar[str] = ""
    side: ClassVar[int] = 224
    folder: ClassVar[Place] = "optional"
    imagenet_indices: ClassVar[tuple[int, ...] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            DATASETS[cls.name] = cls()
            ordered = sorted(DATASETS.items(), key=lambda item: (PLACES.index(item[1].folder), item[0]))
            DATASETS.clear()
            DATASETS.update(ordered)

    def load(self, options: Options) -> Splits:
        """Its images as `options` say; the part that is not asked for is empty.

        Raises:
            EscrimeError: As `escrime.data.load`.
        """
        raise NotImplementedError


class ImageFiles(Dataset):
    """Base of those that are files of pictures: a subclass names them."""

    def listed(self, options: Options) -> Listed:
        """(classes, their WordNet ids or None, the listings of train and test)."""
        raise NotImplementedError

    def load(self, options: Options) -> Splits:
        classes, wnids, listings = self.listed(options)
        kept = options.kept(listings)
        calls = options.shared_progress([len(files.names) for files in kept])
        parts = zip(kept, options.sides, calls, strict=True)
        decoded = [read_files(files, side, cache=options.cache, progress=call) for files, side, call in parts]
        report_left_out(decoded, kept, options.on_error)
        pairs = zip(kept, decoded, strict=True)
        return Splits(*(image_set(self.name, files, found, classes, wnids) for files, found in pairs))


def image_set(name: str, files: Listing, found: Decoded, classes: tuple[str, ...], wnids: tuple[str, ...] | None) -> ImageSet:
    """What could be read of the files; classes that are called by ImageNet's WordNet ids get its names.

    Raises:
        EscrimeError: Where no image of a class can.
    """
    keep = np.array([file not in found.skipped for file in files.names], dtype=bool)
    files = files.select(keep)
    absent = [classes[label] for label in set(range(len(classes))) - set(files.labels.tolist())]
    if absent and len(keep):
        raise EscrimeError(f"no image of the class {absent[0]!r} can be read; repair the files or remove the class.")
    mark = fingerprint(found.digests, found.images.shape[1:], files.labels, files.names, classes)
    left_out = files.ignored | found.skipped
    return ImageSet(name, found.images, files.labels, files.names, titles(classes), files.subsets, mark, wnids, left_out)


def report_left_out(decoded: Sequence[Decoded], files: Sequence[Listing], on_error: str) -> None:
    """Warn of pictures that are left out; EscrimeError for those that cannot be read, where they are not to be skipped."""
    warn_of_ignored(files[0].root, {name: reason for part in files for name, reason in part.ignored.items()}, stacklevel=5)
    skipped = {name: reason for part in decoded for name, reason in part.skipped.items()}
    if skipped:
        total = sum(len(part.names) for part in files)
        shown = shortened((reason.rstrip(".") for reason in skipped.values()), between="; ") + "."
        count = f"{len(skipped):,} of {total:,} images in {str(files[0].root)!r} cannot be read"
        if on_error == "raise":
            raise EscrimeError(
                f"{count}: {shown} Repair or remove them, or leave them out with --skip-unreadable (in Python on_error='skip')."
            )
        warnings.warn(f"{count} and are left out: {shown}", stacklevel=4)
