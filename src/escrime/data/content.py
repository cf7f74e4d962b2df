"""What images are, as hashes: digests of pixels and files, the fingerprint of a set, images that two sets share."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EscrimeError
from ..regular_files import IMAGE, read_regular, reason

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from .imageset import ImageSet

DIGEST = 16  # bytes kept of each SHA-256


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def digest(data: "ReadableBuffer") -> bytes:
    """The first 16 bytes of the SHA-256 of `data`, bytes or the memory of a C-contiguous array."""
    return sha256(data).digest()[:DIGEST]


def pixel_digests(images: np.ndarray) -> np.ndarray:
    """The digest of each image's pixels: uint8 (N, 16) for uint8 images (N, C, H, W), hashed on all cores."""
    digests = np.zeros((len(images), DIGEST), dtype=np.uint8)

    def work(rows: range) -> None:
        for row in rows:
            digests[row] = np.frombuffer(digest(np.ascontiguousarray(images[row]).data), dtype=np.uint8)

    _in_parallel(work, len(images))
    return digests


def fingerprint(
    digests: np.ndarray, shape: Sequence[int], labels: np.ndarray, ids: Sequence[str], classes: Sequence[str]
) -> str:
    """32 hex digits for a set of images: its pixels, labels, ids and class names, in whatever order."""
    total = sha256(repr((tuple(int(length) for length in shape), tuple(classes))).encode())
    for row in sorted(range(len(ids)), key=ids.__getitem__):
        total.update(digests[row].tobytes() + int(labels[row]).to_bytes(8, "little") + encode(ids[row]) + b"\0")
    return total.hexdigest()[: 2 * DIGEST]


def encode(name: str) -> bytes:
    """A file name as bytes, also where the file system holds one that is not valid UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def hash_files(root: Path, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The hash (hex) of the files' names and bytes, and the reason for each file that cannot be opened."""
    digests: list[bytes] = [b""] * len(names)
    failed: dict[str, str] = {}

    def work(rows: range) -> None:
        for row in rows:
            try:
                digests[row] = digest(read_regular(root / names[row], IMAGE))
            except OSError as error:
                failed[names[row]] = reason(error)

    _in_parallel(work, len(names))
    total = sha256()
    for name, content in zip(names, digests, strict=True):
        total.update(encode(name) + b"\0" + (content or f"cannot be opened: {failed[name]}".encode()))
    return total.hexdigest()[: 2 * DIGEST], failed


def overlap(train: "ImageSet", test: "ImageSet") -> tuple[str, ...]:
    """Which test images are training images too.

    An exact comparison: a copy that was compressed or resized differently is another image to it.

    Args:
        train: The training images.
        test: The test images, of the same size.

    Returns:
        The ids of the test images whose pixels also occur in `train`, in the order of `test`.

    Raises:
        EscrimeError: When the two sets hold images of different sizes, which can never be equal.
    """
    if train.images.shape[1:] != test.images.shape[1:]:
        raise EscrimeError(
            f"cannot look for train images in test: they are {train.images.shape[1:]} and {test.images.shape[1:]} "
            "(channels, height, width); load both at the same size."
        )
    known = {row.tobytes() for row in pixel_digests(train.images)}
    return tuple(name for name, row in zip(test.ids, pixel_digests(test.images), strict=True) if row.tobytes() in known)


def _in_parallel(work: Callable[[range], None], count: int) -> None:
    # Threads are enough: hashing and reading release the interpreter lock. Ranges keep the cost per task small.
    step = 256
    ranges = [range(start, min(start + step, count)) for start in range(0, count, step)]
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, ranges):
            pass
