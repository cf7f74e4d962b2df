"""Downloads that are there whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

from ..errors import EscrimeError
from ..online import OFFLINE, unreachable
from .listing import OPTION


def download_into(place: Path, what: str, url: str, get: Callable[[Path], Path]) -> Path:
    """Let `get(staging)` download and unpack into a temporary folder, then move the folder it returns into `place`.

    Raises:
        EscrimeError: When the network, the server, the archive or the disk fails; nothing is left.
    """
    if reason := unreachable(url):
        raise EscrimeError(
            f"downloading {what} from {url} failed: {OFFLINE} ({reason}); check the network, or give a folder that has it with "
            f"{OPTION}."
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".download-") as staging:
            unpacked = get(Path(staging))
            target = place / unpacked.name
            try:
                os.replace(unpacked, target)
            except OSError:
                # Another process may have been first; its copy passed the same checksum.
                if not target.is_dir() or not any(target.iterdir()):
                    raise
            return target
    except Exception as error:  # torchvision lets network, tar, checksum and disk errors through as they come
        cause = None if isinstance(error, HTTPError) else getattr(error, "reason", None)  # what urllib wraps
        reason = " ".join(str(cause or error).split())
        raise EscrimeError(
            f"downloading {what} from {url} failed ({reason.rstrip('.')}); check the network and the free space, or "
            f"give a folder that has it with {OPTION}."
        ) from error
