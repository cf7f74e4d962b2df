"""Files that appear whole or not at all, whatever stops the program."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .errors import EscrimeError


@contextmanager
def whole(path: Path | str):
    """Yield a temporary path beside `path`; when the block ends well it is flushed and takes the place of `path`.

    On any error the temporary file is gone and an older file of the same name is untouched.
    Errors: EscrimeError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes it private; a result is an ordinary file
        os.replace(temporary, path)
    except OSError as error:
        raise EscrimeError(
            f"{path} could not be written ({error.strerror or error}); free some space or choose another folder. "
            "What was there before is untouched."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def leftover(path: Path) -> bool:
    """Whether `path` is what `whole` was writing when its program was killed, which nothing can clean up after."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def sweep(folder: Path) -> None:
    """Remove such leftovers from `folder` and the folders directly in it; call it where no one else can be writing."""
    for path in [*folder.glob(".*.partial"), *folder.glob("*/.*.partial")]:
        path.unlink(missing_ok=True)


def write_whole(path: Path | str, content: bytes | str) -> None:
    """Write bytes or UTF-8 text to `path`, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
