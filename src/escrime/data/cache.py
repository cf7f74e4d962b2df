"""Decode once: images as a memory-mapped uint8 .npy beside a .json, named by the content they were made from."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ..errors import EscrimeError
from ..files import abandoned, leftovers, whole, write_whole
from ..regular_files import expanded
from .content import DIGEST, cores, digest, pixel_digests
from .decode import UnreadableImage

Progress = Callable[[int, int], None]
WINDOW = 1024  # images in the air at once, so that memory stays bounded


class Decoded(NamedTuple):
    """Images uint8 (M, 3, size, size) as a read-only memory map, digests uint8 (M, 16), and name → reason left out."""

    images: np.ndarray
    digests: np.ndarray
    skipped: dict[str, str]


def cache_folder(cache: Path | str | None = None) -> Path:
    """Where decoded images and downloads live: the argument, else $ESCRIME_CACHE, else the user's cache folder."""
    chosen = cache or os.environ.get("ESCRIME_CACHE")
    if chosen:
        return expanded(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(base) / "escrime"


def cached(
    key: str,
    names: Sequence[str],
    make: Callable[[str], np.ndarray],
    size: int,
    *,
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """The images `make(name)` → uint8 (3, size, size) for `names`, made on all cores or found in the cache under `key`.

    `key` must be a hash of everything the pixels depend on. Names for which `make` raises UnreadableImage are left out
    and reported. Two processes may do the same work at once: each writes its own file, and whole files replace each
    other. Every image is checked against its digest when found; a damaged file is made again.

    Raises:
        EscrimeError: When the cache folder cannot be written or has too little space.
    """
    if not names:
        return Decoded(np.zeros((0, 3, size, size), np.uint8), np.zeros((0, DIGEST), np.uint8), {})
    folder = cache_folder(cache)
    path = folder / f"{key}.npy"
    found = _open(path, names, size)
    if found is None:
        _make_room(folder, len(names) * 3 * size * size)
        _remove_abandoned(path)
        _write(path, names, make, size, progress)
        found = _open(path, names, size)
        if found is None:
            raise EscrimeError(f"the cache file {str(path)!r} came back damaged right after writing; check that disk.")
    elif progress:
        progress(len(names), len(names))
    return found


def _open(path: Path, names: Sequence[str], size: int) -> Decoded | None:
    """What the cache holds for `names`, or None when it is absent or not exactly what was written."""
    try:
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
        skipped = dict(record["skipped"])
        digests = np.frombuffer(bytes.fromhex(record["digests"]), dtype=np.uint8).reshape(-1, DIGEST)
        shape = (len(digests), 3, size, size)
        if not set(skipped) <= set(names) or len(digests) + len(skipped) != len(names):
            return None
        if len(digests) == 0:  # an empty file cannot be mapped
            return Decoded(np.zeros(shape, dtype=np.uint8), digests, skipped)
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.dtype != np.uint8 or images.shape != shape or not images.flags.c_contiguous:
            return None
        return Decoded(np.asarray(images), digests, skipped) if (pixel_digests(images) == digests).all() else None
    except Exception:  # whatever damage makes the readers raise, the remedy is the same: make it again
        return None


def _make_room(folder: Path, need: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise EscrimeError(
            f"cannot write to the cache folder {str(folder)!r} ({error.strerror or error}); name another one with "
            "$ESCRIME_CACHE."
        ) from None
    if need > free:
        raise EscrimeError(
            f"decoded images need {need / 2**30:.2f} GiB and the cache folder {str(folder)!r} has {free / 2**30:.2f} "
            "GiB left; free some space, name another folder with $ESCRIME_CACHE, or ask for a smaller size."
        )


def _write(path: Path, names: Sequence[str], make: Callable[[str], np.ndarray], size: int, progress: Progress | None) -> None:
    def work(name: str) -> tuple[np.ndarray, bytes] | str:
        try:
            image = make(name)
        except UnreadableImage as error:
            return str(error)
        return image, digest(image.data)

    digests, skipped = bytearray(), {}
    pool = ThreadPoolExecutor(cores())  # threads: Pillow decodes and resizes without the interpreter lock
    try:
        # Plain writes, not a writable map: on a full disk a map would kill the process instead of raising.
        with whole(path) as part, open(part, "wb") as file:
            _write_header(file, len(names), size)
            for start in range(0, len(names), WINDOW):
                window = names[start : start + WINDOW]
                for done, (name, result) in enumerate(zip(window, pool.map(work, window), strict=True), start + 1):
                    if isinstance(result, str):
                        skipped[name] = result
                    else:
                        file.write(result[0].tobytes())
                        digests += result[1]
                    if progress:
                        progress(done, len(names))
            file.seek(0)
            _write_header(file, len(names) - len(skipped), size)
        write_whole(path.with_suffix(".json"), json.dumps({"skipped": skipped, "digests": digests.hex()}))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    # numpy pads the header so that the first axis can change without moving the data.
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, size, size)}
    np.lib.format.write_array_header_1_0(file, header)


def _remove_abandoned(path: Path) -> None:
    # A process that was killed leaves its part behind; after a day nobody can still be writing it.
    for part in leftovers(path):
        if abandoned(part, 86400):
            with suppress(OSError):
                part.unlink()
