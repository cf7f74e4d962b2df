"""Listed image files → decoded images, through the cache."""

from pathlib import Path

import numpy as np

from ..errors import EscrimeError
from ..regular_files import IMAGE, read_regular, reason
from .cache import Decoded, Progress, cached
from .content import digest, hash_files
from .decode import DECODER, UnreadableImage, decode_bytes
from .listing import Listing


def read_files(files: Listing, size: int, *, cache: Path | str | None = None, progress: Progress | None = None) -> Decoded:
    """The decoded images of a listing, from the cache when the same files were decoded before."""
    content, failed = hash_files(files.root, files.names)
    key = digest(repr((DECODER, size, content)).encode()).hex()

    def make(name: str) -> np.ndarray:
        path = files.root / name
        if name in failed:
            raise UnreadableImage(f"{name!r} cannot be opened: {failed[name]}.")
        try:
            data = read_regular(path, IMAGE)
        except OSError as error:  # it could be read a moment ago: nothing to remember in a cache
            raise EscrimeError(
                f"{str(path)!r} vanished while being read ({reason(error)}); leave the data alone and run again."
            ) from None
        return decode_bytes(data, size, name)

    return cached(key, files.names, make, size, cache=cache, progress=progress)
