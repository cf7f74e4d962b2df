"""One entry for all datasets: a name in, train and test ImageSets out."""

import math
from pathlib import Path

from ..errors import EscrimeError
from ..imagenet import titles
from ..regular_files import is_folder
from ..validation import check_choice, check_whole
from .cache import Progress
from .dataset import DATASETS, PARTS, Options
from .decode import MAX_PIXELS
from .folder import images_to_judge, list_to_judge
from .imageset import ImageSet, Splits
from .listing import OPTION


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

    Args:
        name: Of DATASETS; "folder" reads any folder of images.
        split: "train" or "test" leaves the other set empty and undecoded; None loads both.
        size: Pixels of the square side; None: the dataset's own.
        train_size: That of the training images, where they are to be larger (see crop_size of TrainSettings).
        folder: Where the images are (--data DIR).
        cache: Where decoded images and downloads go; None: $ESCRIME_CACHE, else the user's cache folder.
        download: Allow torchvision to fetch what is missing.
        on_error: "skip" leaves unreadable images out, with a warning that counts and names them, instead of raising.
        progress: progress(done, total) is called as images are decoded.

    Returns:
        The train and test images, which can be unpacked.

    Raises:
        EscrimeError: For an unknown name, a missing or unsuitable folder, unreadable images, a failed download.
    """
    own = f" For a folder of images use 'folder' with --data {name} (of `escrime train`: --data folder --folder {name})."
    check_choice("dataset", name, DATASETS, hint=own if is_folder(str(name)) else "")
    if split is not None:
        check_choice("split", split, PARTS)
    check_choice("on_error", on_error, ("raise", "skip"))
    dataset = DATASETS[name]
    size = _pixels("size", dataset.side if size is None else size, dataset.side)
    sides = (size if train_size is None else _pixels("train_size", train_size, size), size)
    if dataset.folder == "none" and folder is not None:
        option = f"--data {folder} (of `escrime train`: --folder {folder})"
        raise EscrimeError(f"the dataset {name!r} is built in and reads no folder; leave out {option}.")
    if dataset.folder == "needed" and folder is None:
        raise EscrimeError(f"the dataset {name!r} needs to know where the images are; give {OPTION}.")
    return dataset.load(Options(split, *sides, folder, cache, download, on_error, progress))


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

    Args:
        source: A folder, or a name of DATASETS where no folder is called so.
        size: Pixels of the square side.
        cache: As in `load`.
        download: As in `load`.
        on_error: As in `load`.
        progress: As in `load`.

    Returns:
        The images as uint8 (N, 3, size, size), with their labels and ids.

    Raises:
        EscrimeError: As `load`.
    """
    if str(source) in DATASETS and not is_folder(source):
        found = load(str(source), split="test", size=size, cache=cache, download=download, on_error=on_error, progress=progress)
        return found.test
    return images_to_judge(source, Options("test", size, size, source, cache, download, on_error, progress))


def class_names(source: Path | str) -> tuple[str, ...] | None:
    """What the classes of a folder of images are called, without reading one; None for a dataset by its name."""
    return titles(list_to_judge(source)[0]) if is_folder(source) else None


def _pixels(what: str, value: int, example: int) -> int:
    value = check_whole(what, value, of="pixels", hint=f"such as {example}")
    if value * value > MAX_PIXELS:
        most = math.isqrt(MAX_PIXELS)
        raise EscrimeError(
            f"{what} = {value:,} is more than images are resized to here; give at most {most:,}, such as {example}."
        )
    return value
