"""Imagenette v2, ten easy classes of ImageNet, with the images that ImageNet-trained models have never seen kept apart.

Of its 3,925 val images 3,791 are ImageNet training images, so a pre-trained model has seen them. The 500 named
ILSVRC2012_val_* come from ImageNet's own validation set: 134 lie in val and 366 in train, from where they are taken out
and tested on. Hence the test subsets "val" (the standard one) and "leak-free".
"""

import os
from pathlib import Path

import numpy as np

from ..errors import EscrimeError
from ..regular_files import expanded
from .cache import cache_folder
from .dataset import ImageFiles, Listed, Options
from .download import download_into
from .listing import (
    OPTION,
    Listing,
    check_same_classes,
    check_text,
    class_folders,
    existing_folder,
    list_classes,
    subfolders,
)

CLASSES = (
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
)
WNIDS = (
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
)
IMAGENET_INDICES = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)  # of the ten classes among ImageNet's thousand

# torchvision's archives by the length of the images' shorter side, smallest first.
VARIANTS = ((160, "160px", "imagenette2-160"), (320, "320px", "imagenette2-320"), (None, "full", "imagenette2"))


class ImagenetteV2(ImageFiles):
    name = "imagenette"
    what = "Imagenette v2, 13,394 photos of ten ImageNet classes, the paper's dataset; a folder or a download"
    imagenet_indices = IMAGENET_INDICES

    def listed(self, options: Options) -> Listed:
        root = find_imagenette(options.folder, max(options.sides), cache=options.cache, download=options.download)
        return CLASSES, WNIDS, list_imagenette(root)


def list_imagenette(root: Path) -> tuple[Listing, Listing]:
    """(train, test) of the folder that holds train/WNID and val/WNID; test has the subsets "val" and "leak-free".

    Raises:
        EscrimeError: When the ten classes are not all there, or others are.
    """
    for part in ("train", "val"):
        found = class_folders(root / part)
        try:
            check_same_classes(WNIDS, found, "Imagenette", repr(str(root / part)))
        except EscrimeError as error:
            raise EscrimeError(f"{error} For images of your own, use the dataset 'folder'.") from None
    files, val = list_classes(root, "train", WNIDS), list_classes(root, "val", WNIDS)
    unseen = np.array([_from_imagenet_val(name) for name in files.names])
    moved = files.select(unseen)
    names, labels = val.names + moved.names, np.concatenate([val.labels, moved.labels])
    subsets = {"val": np.arange(len(names)) < len(val.names)}
    leak_free = np.array([_from_imagenet_val(name) for name in names])
    if leak_free.any():
        subsets["leak-free"] = leak_free
    return files.select(~unseen), Listing(root, names, labels, subsets, val.ignored)


def find_imagenette(folder: Path | str | None, size: int, *, cache: Path | str | None = None, download: bool = False) -> Path:
    """The folder that holds train and val: `folder`, its one imagenette2* subfolder, or a download.

    A download goes into `folder`, or into the cache when none is given, and takes torchvision's smallest archive whose
    images are not smaller than `size`.

    Raises:
        EscrimeError: When there are no images; it tells how to provide them.
    """
    if folder is not None:
        place = expanded(folder)
        check_text(place)
        if not download:
            existing_folder(place)
        root = _inside(place) if place.exists() else None
        if root is not None:
            return root
        if not download:
            raise EscrimeError(
                f"the folder {str(place)!r} holds neither 'train' and 'val' nor an 'imagenette2…' folder with them; "
                "unpack Imagenette there, or allow the download."
            )
    else:
        place = cache_folder(cache) / "downloads"
    enough = [variant for variant in VARIANTS if variant[0] is None or variant[0] >= size]
    for _, _, name in enough:
        if _complete(place / name):
            return place / name
    if not download:
        raise EscrimeError(
            f"Imagenette is not on this machine yet; give its folder (holding train/ and val/) with {OPTION}, or "
            "allow the download (download=True)."
        )
    return _download(place, enough[0][1])


def _download(place: Path, variant: str) -> Path:
    from torchvision.datasets import Imagenette

    url = Imagenette._ARCHIVES[variant][0]

    def get(staging: Path) -> Path:
        Imagenette(staging, size=variant, download=True)
        return staging / Path(url).stem

    root = download_into(place, f"Imagenette ({variant})", url, get)
    if not _complete(root):
        raise EscrimeError(f"{str(root)!r} lacks 'train' or 'val'; remove that folder and let it be downloaded again.")
    return root


def _inside(folder: Path) -> Path | None:
    if _complete(folder):
        return folder
    found = [name for name in subfolders(folder) if name.startswith("imagenette2") and _complete(folder / name)]
    if len(found) > 1:
        raise EscrimeError(f"{str(folder)!r} holds {', '.join(found)}; say which one, such as --data {folder / found[0]}.")
    return folder / found[0] if found else None


def _complete(folder: Path) -> bool:
    return os.path.isdir(folder / "train") and os.path.isdir(folder / "val")


def _from_imagenet_val(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith("ILSVRC2012_val_")
