"""One entry for all datasets: a name in, train and test ImageSets out."""

import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

import numpy as np

from ..errors import EscrimeError, nearest, shortened
from ..regular import is_folder
from . import imagenette as nette
from .cache import Decoded, Progress
from .cifar10 import SIDE as CIFAR10_SIDE
from .cifar10 import find_cifar10, read_cifar10, resized
from .content import fingerprint
from .decode import MAX_PIXELS
from .digits import SIDE as DIGITS_SIDE
from .digits import digits
from .files import read_files
from .folder import list_folder, list_to_judge, wordnet_ids
from .imageset import ImageSet, Splits
from .listing import OPTION, Listing, warn_of_ignored

DATASETS = {
    "digits": "scikit-learn's 1,797 handwritten digits, 8×8, ten classes; built in, nothing to download",
    "imagenette": "Imagenette v2, 13,394 photos of ten ImageNet classes, the paper's dataset; a folder or a download",
    "cifar10": "CIFAR-10, 60,000 photos of 32×32 in ten classes; a folder or a download",
    "folder": "your own images: DIR/train/CLASS/* and DIR/val/CLASS/*, or DIR/CLASS/*, a fifth of it to test on",
}
PARTS = ("train", "test")
SIZES = {"digits": DIGITS_SIDE, "imagenette": 224, "cifar10": CIFAR10_SIDE, "folder": 224}


def load(
    name: str,
    *,
    split: str | None = None,
    size: int | None = None,
    train_size: int | None = None,
    folder: Path | str | None = None,
    cache: Path | str | None = None,
    download: bool = False,
    on_error: str = "raise",
    progress: Progress | None = None,
) -> Splits:
    """Load a dataset of DATASETS as uint8 images (N, 3, size, size), decoded once into a cache.

    split: "train" or "test" leaves the other set empty and undecoded; None loads both. size: pixels of the square side
    (default: 8 for digits, 32 for cifar10, else 224). train_size: that of the training images, where they are to be larger
    (see crop_size of TrainSettings). folder: where the images are (--data DIR). cache: where decoded
    images and downloads go (default $ESCRIME_CACHE, else the user's cache folder). download: allow torchvision to fetch
    what is missing. on_error: "skip" leaves unreadable images out, with a warning that counts and names them, instead
    of raising. progress(done, total) is called as images are decoded.
    Errors: EscrimeError for an unknown name, a missing or unsuitable folder, unreadable images, a failed download.
    """
    if name not in DATASETS:
        own = is_folder(str(name))
        advice = f" For a folder of images use 'folder' with --data {name} (of `escrime train`: --data folder --folder {name})."
        hint = advice if own else nearest(name, DATASETS)
        raise EscrimeError(f"dataset {name!r} is unknown; use one of {', '.join(DATASETS)}.{hint}")
    for what, value, choices in (("split", split, (None, *PARTS)), ("on_error", on_error, ("raise", "skip"))):
        if value not in choices:
            raise EscrimeError(f"{what} = {value!r} is unknown; use one of {choices}.{nearest(str(value), choices)}")
    size = _pixels("size", SIZES[name] if size is None else size, SIZES[name])
    sides = (size if train_size is None else _pixels("train_size", train_size, size), size)
    if name == "digits" and folder is not None:
        option = f"--data {folder} (of `escrime train`: --folder {folder})"
        raise EscrimeError(f"the dataset 'digits' is built in and reads no folder; leave out {option}.")
    if name == "folder" and folder is None:
        raise EscrimeError(f"the dataset 'folder' needs to know where the images are; give {OPTION}.")

    if name == "digits":
        train, test = digits(sides[0])
        return Splits(*_wanted(split, [train, test if sides[0] == size else digits(size)[1]]))
    if name == "cifar10":
        root = find_cifar10(folder, cache=cache, download=download)
        sets = _wanted(split, [read_cifar10(part, root) for part in PARTS])
        calls = _shared_progress(progress, [len(part) for part in sets])
        parts = zip(sets, sides, calls, strict=True)
        return Splits(*(resized(part, side, cache=cache, progress=call) for part, side, call in parts))
    classes: tuple[str, ...]
    wnids: tuple[str, ...] | None
    if name == "imagenette":
        root = nette.find_imagenette(folder, max(sides), cache=cache, download=download)
        (train_files, test_files), classes, wnids = nette.list_imagenette(root), nette.CLASSES, nette.WNIDS
    else:
        assert folder is not None  # refused above
        classes, train_files, test_files = list_folder(folder)
        wnids = wordnet_ids(classes)
    kept = _wanted(split, [train_files, test_files])
    calls = _shared_progress(progress, [len(files.names) for files in kept])
    parts = zip(kept, sides, calls, strict=True)
    decoded = [read_files(files, side, cache=cache, progress=call) for files, side, call in parts]
    _report_left_out(decoded, kept, on_error)
    return Splits(*(_image_set(name, files, found, classes, wnids) for files, found in zip(kept, decoded, strict=True)))


def load_to_judge(
    source: Path | str,
    size: int,
    *,
    cache: Path | str | None = None,
    download: bool = False,
    on_error: str = "raise",
    progress: Progress | None = None,
) -> ImageSet:
    """The images to judge a model on: those of a folder (see `list_to_judge`), or the test set of a dataset by its name.

    size, cache, download, on_error, progress and errors: as in `load`.
    """
    if str(source) in DATASETS and not is_folder(source):
        found = load(str(source), split="test", size=size, cache=cache, download=download, on_error=on_error, progress=progress)
        return found.test
    classes, files = list_to_judge(source)
    decoded = read_files(files, size, cache=cache, progress=progress)
    _report_left_out([decoded], [files], on_error)
    return _image_set("folder", files, decoded, classes, wordnet_ids(classes))


def _image_set(name: str, files: Listing, found: Decoded, classes: tuple[str, ...], wnids: tuple[str, ...] | None) -> ImageSet:
    keep = np.array([file not in found.skipped for file in files.names], dtype=bool)
    files = files.select(keep)
    absent = [classes[label] for label in set(range(len(classes))) - set(files.labels.tolist())]
    if absent and len(keep):
        raise EscrimeError(f"no image of the class {absent[0]!r} can be read; repair the files or remove the class.")
    mark = fingerprint(found.digests, found.images.shape[1:], files.labels, files.names, classes)
    left_out = files.ignored | found.skipped
    return ImageSet(name, found.images, files.labels, files.names, classes, files.subsets, mark, wnids, left_out)


def _pixels(what: str, value: int, example: int) -> int:
    if not isinstance(value, (int, Integral)) or isinstance(value, bool) or value <= 0:
        raise EscrimeError(f"{what} = {value!r} is no number of pixels; give a whole number above 0, such as {example}.")
    if value * value > MAX_PIXELS:
        most = math.isqrt(MAX_PIXELS)
        raise EscrimeError(
            f"{what} = {value:,} is more than images are resized to here; give at most {most:,}, such as {example}."
        )
    return int(value)


def _wanted(split: str | None, sets: Sequence) -> list:
    """(train, test) with the one that `split` does not ask for emptied."""
    return [part if split in (None, what) else part.select([]) for what, part in zip(PARTS, sets, strict=True)]


def _report_left_out(decoded: Sequence[Decoded], files: Sequence[Listing], on_error: str) -> None:
    """Warn of pictures that are left out; EscrimeError for those that cannot be read, where they are not to be skipped."""
    warn_of_ignored(files[0].root, {name: reason for part in files for name, reason in part.ignored.items()}, stacklevel=4)
    skipped = {name: reason for part in decoded for name, reason in part.skipped.items()}
    if skipped:
        total = sum(len(part.names) for part in files)
        shown = shortened((reason.rstrip(".") for reason in skipped.values()), between="; ") + "."
        count = f"{len(skipped):,} of {total:,} images in {str(files[0].root)!r} cannot be read"
        if on_error == "raise":
            raise EscrimeError(
                f"{count}: {shown} Repair or remove them, or leave them out with --skip-unreadable (in Python on_error='skip')."
            )
        warnings.warn(f"{count} and are left out: {shown}", stacklevel=3)


def _shared_progress(progress: Progress | None, counts: list[int]) -> list[Progress | None]:
    """One callback for each of several parts, that together count through all of them."""
    if progress is None:
        return [None] * len(counts)
    starts = np.cumsum([0, *counts]).tolist()

    def from_start(start: int) -> Progress:
        return lambda done, _: progress(start + done, starts[-1])

    return [from_start(start) for start in starts[:-1]]
