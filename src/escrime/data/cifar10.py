"""CIFAR-10 through torchvision: 50,000 train and 10,000 test images of 32×32 in ten classes (Krizhevsky, 2009)."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import EscrimeError
from ..regular_files import MiB, check_regular, expanded
from .cache import Progress, cache_folder, cached
from .content import digest, fingerprint
from .dataset import PARTS, Dataset, Options
from .decode import DECODER, to_square
from .download import download_into
from .imageset import ImageSet, Splits
from .listing import OPTION, check_text, existing_folder

SIDE = 32
LARGEST = 64 * MiB  # of a file: theirs have 30


class Cifar10(Dataset):
    name = "cifar10"
    what = "CIFAR-10, 60,000 photos of 32×32 in ten classes; a folder or a download"
    side = SIDE

    def load(self, options: Options) -> Splits:
        root = find_cifar10(options.folder, cache=options.cache, download=options.download)
        sets = options.kept([read_cifar10(part, root) for part in PARTS])
        parts = zip(sets, options.sides, options.shared_progress([len(part) for part in sets]), strict=True)
        return Splits(*(resized(part, side, cache=options.cache, progress=call) for part, side, call in parts))


def read_cifar10(part: str, root: Path) -> ImageSet:
    """The "train" or "test" images from the folder that holds cifar-10-batches-py.

    Raises:
        EscrimeError: When files are missing or fail torchvision's checksums (they are pickles, so no others load).
    """
    from torchvision.datasets import CIFAR10

    try:
        _check_regular(root / CIFAR10.base_folder, [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)])
        data = CIFAR10(root, train=part == "train")
    except (RuntimeError, OSError) as error:
        raise EscrimeError(
            f"the CIFAR-10 files in {str(root / CIFAR10.base_folder)!r} are missing or damaged "
            f"({str(error).split('.')[0]}); remove that folder and allow the download, or give another with {OPTION}."
        ) from None
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    ids = tuple(f"cifar10/{part}/{row:05d}" for row in range(len(images)))
    return ImageSet("cifar10", images, np.array(data.targets, dtype=np.int64), ids, tuple(data.classes))


def _check_regular(folder: Path, names: list[str]) -> None:
    """Raise OSError for a pipe or a device among the files, which torchvision would read to no end."""
    for name in (*names, "batches.meta"):
        try:
            check_regular(folder / name, LARGEST)
        except FileNotFoundError:  # torchvision says so
            continue


def resized(images: ImageSet, size: int, *, cache: Path | str | None = None, progress: Progress | None = None) -> ImageSet:
    """The same set at size × size pixels, from the cache when it was resized before; itself when it has that size."""
    if images.images.shape[2:] == (size, size):
        return images
    key = digest(repr(("resized", DECODER, size, images.fingerprint, images.ids)).encode()).hex()
    rows = dict(zip(images.ids, images.images, strict=True))

    def make(name: str) -> np.ndarray:
        return to_square(Image.fromarray(np.ascontiguousarray(rows[name].transpose(1, 2, 0))), size)

    pixels, digests, _ = cached(key, images.ids, make, size, cache=cache, progress=progress)
    mark = fingerprint(digests, pixels.shape[1:], images.labels, images.ids, images.classes)
    return ImageSet(images.name, pixels, images.labels, images.ids, images.classes, fingerprint=mark)


def find_cifar10(folder: Path | str | None, *, cache: Path | str | None = None, download: bool = False) -> Path:
    """The folder that holds cifar-10-batches-py: `folder`, its parent, or the cache's downloads.

    Raises:
        EscrimeError: When there are no images; it tells how to provide them.
    """
    from torchvision.datasets import CIFAR10

    name = CIFAR10.base_folder
    place = expanded(folder) if folder is not None else cache_folder(cache) / "downloads"
    check_text(place)
    if place.name == name and place.is_dir():
        return place.parent
    if (place / name).is_dir():
        return place
    if not download:
        if folder is not None:
            existing_folder(place)
            raise EscrimeError(f"the folder {str(place)!r} holds no {name!r}; unpack CIFAR-10 there, or allow the download.")
        raise EscrimeError(
            f"CIFAR-10 is not on this machine yet; give the folder that holds {name!r} with {OPTION}, or "
            "allow the download (download=True)."
        )

    def get(staging: Path) -> Path:
        CIFAR10(staging, download=True)
        return staging / name

    return download_into(place, "CIFAR-10", CIFAR10.url, get).parent
