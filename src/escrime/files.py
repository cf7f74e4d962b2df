"""Files that appear whole or not at all, whatever stops the program."""

import glob
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows, which locks otherwise
    fcntl = None  # type: ignore[assignment]

from .errors import EscrimeError

LOCK = ".lock"
LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.partial")  # as `whole` names it


@contextmanager
def whole(path: Path | str, follow: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it is flushed and takes the place of `path`.

    On any error the temporary file is gone and an older file of the same name is untouched; what replaces it has its mode.
    Where `path` is a link, all this is about its target; a device or a pipe gets the content. Without `follow`, as for names
    that the user did not give, the file takes the place of the link, the device or the pipe itself.

    Raises:
        EscrimeError: When the disk is full or the folder cannot be written.
    """
    path = Path(path)
    if follow and _is_device(path):
        with _for_a_device(path) as stand_in:
            yield stand_in
        return
    if follow:
        path = Path(os.path.realpath(path))  # the file behind a link, not the link
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode_of(path)
        temporary = _new_beside(path, 0o666 if mode is None else 0o600)
        yield temporary
        flush(temporary)
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise EscrimeError(
            f"{path} could not be written ({error.strerror or error}); free some space or choose another folder. "
            "What was there before is untouched."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode_of(path: Path) -> int | None:
    """Who may do what with the file `path`; None where there is no file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else None


def _new_beside(path: Path, mode: int) -> Path:
    """A new empty file beside `path`, of this mode but for the user's umask."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            return temporary
        except FileExistsError:
            continue


def _flush_folder(folder: Path) -> None:
    """Let the disk know the new name too, where a folder can be opened for that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems have it at once
        pass
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Let the disk have what was written to `path`; OSError where it has no room for it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _is_device(path: Path) -> bool:
    """Whether `path` is a device, a pipe, or a stream that is open already: nothing may take its place."""
    if str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be entered: writing will say so
        return False


@contextmanager
def _for_a_device(path: Path) -> Iterator[Path]:
    """Yield a temporary file, whose content is then written to the device or pipe `path`."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "content"
        temporary.touch()
        yield temporary
        try:
            with open(path, "ab") as device:  # a redirected stream keeps what was written to it before
                device.write(temporary.read_bytes())
        except OSError as error:
            raise EscrimeError(f"{path} could not be written ({error.strerror or error}); give another place.") from error


def leftover(path: Path) -> bool:
    """Whether `path` is what `whole` was writing when its program was killed, which nothing can clean up after."""
    return LEFTOVER.fullmatch(path.name) is not None


def leftovers(path: Path) -> list[Path]:
    """What is left beside `path`, or beside what it links to, of attempts to write it."""
    path = Path(os.path.realpath(path))
    return list(path.parent.glob(f".{glob.escape(path.name)}.*.partial"))


def sweep(folder: Path) -> None:
    """Remove all leftovers from `folder` and the folders directly in it; only from a folder of ours that no one writes in."""
    for path in [*folder.glob(".*.partial"), *folder.glob("*/.*.partial")]:
        if leftover(path) and not path.is_dir():
            path.unlink(missing_ok=True)


def abandoned(path: Path, seconds: float) -> bool:
    """Whether `path` is there and has not been written to for so long."""
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:  # its writer has just finished
        return False


def write_whole(path: Path | str, content: bytes | str, follow: bool = True) -> None:
    """Write bytes or UTF-8 text to `path`, whole or not at all; follow: as of `whole`."""
    with whole(path, follow) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(folder: Path, remedy: str) -> Iterator[None]:
    """Make the folder and refuse a second program in it.

    Raises:
        EscrimeError: If there is one; it ends with the `remedy`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _opened_lock(folder / LOCK)
    except OSError as error:
        raise EscrimeError(f"{folder} cannot be written ({error.strerror}); {remedy}.") from None
    with file:
        try:
            _lock(file)
        except OSError:
            raise EscrimeError(f"another escrime run is working in {folder}; wait for it, or {remedy}.") from None
        yield


def _opened_lock(path: Path) -> TextIO:
    """The lock file, opened as it is: whoever sent the folder may have made it a link, a pipe, or a file with content."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.path.islink(path) or (os.path.lexists(path) and not os.path.isfile(path)):
        raise EscrimeError(f"{path} is a link or no file, so it cannot be locked; delete it.")
    return os.fdopen(os.open(path, flags, 0o666), "r+")


def _lock(file: TextIO) -> None:
    """Lock an open file until it is closed. Raises OSError where another program has locked it."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
