"""CIFAR-10 through torchvision: 50,000 train and 10,000 test images of 32×32 in ten classes (Krizhevsky, 2009)."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import EscrimeError
from ..regular import expanded
from .cache import Progress, cache_folder, cached
from .content import digest, fingerprint
from .decode import DECODER, to_square
from .download import download_into
from .imageset import ImageSet
from .listing import OPTION, check_text, existing_folder

SIDE = 32


def read_cifar10(part: str, root: Path) -> ImageSet:
    """The "train" or "test" images from the folder that holds cifar-10-batches-py.

    Errors: EscrimeError when files are missing or fail torchvision's checksums (they are pickles, so no others load).
    """
    from torchvision.datasets import CIFAR10

    try:
        data = CIFAR10(root, train=part == "train")
    except (RuntimeError, OSError) as error:
        raise EscrimeError(
            f"the CIFAR-10 files in {str(root / CIFAR10.base_folder)!r} are missing or damaged "
            f"({str(error).split('.')[0]}); remove that folder and allow the download, or give another with {OPTION}."
        ) from None
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    ids = tuple(f"cifar10/{part}/{row:05d}" for row in range(len(images)))
    return ImageSet("cifar10", images, np.array(data.targets, dtype=np.int64), ids, tuple(data.classes))


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

    Errors: EscrimeError saying how to provide the images when there are none.
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
