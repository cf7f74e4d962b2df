"""Files of others: opened only where they are regular files of a bounded size, never a pipe, a device or a hole of 100 GB."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import EscrimeError

MiB, GiB = 2**20, 2**30
IMAGE = 256 * MiB  # as many pixels as are decoded take less, uncompressed, at 8 bits
TEXT = MiB  # an experiment that a person wrote
WEIGHTS = 64 * GiB  # and no more than the machine has memory, since a network is read whole


class NotRegular(OSError):
    """What is no regular file, or a larger one than it may be; the text says which."""


def expanded(path: Path | str) -> Path:
    """`path` with the user's home for a leading ~; a ~ of nobody's stays, for a file may be called that."""
    return Path(os.path.expanduser(path))


def open_regular(path: Path | str, most: int) -> BinaryIO:
    """Open a regular file of at most `most` bytes for reading; links are followed.

    A pipe is not waited for.

    Raises:
        OSError: Its text says what the file is instead.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    check_regular(path, most)  # before it is opened: to open a tape rewinds it
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(os.fstat(file.fileno()), most)  # of what was opened, whatever the name means by now
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path | str, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown
        raise NotRegular(_too_large(len(content), most))
    return content


def read_text(path: Path, what: str, remedy: str) -> str:
    """The text of a short file that a person wrote. what: what it is, with an article or none. remedy: how to write it.

    Raises:
        EscrimeError: For one that is not there, cannot be read, or is no text in UTF-8.
    """
    try:
        return read_regular(path, TEXT).decode("utf-8-sig")
    except FileNotFoundError:
        raise EscrimeError(f"{what} {path} does not exist; check the path.") from None
    except UnicodeDecodeError:
        raise EscrimeError(f"{what} {path} is no text in UTF-8; {remedy}.") from None
    except OSError as error:
        raise EscrimeError(f"{what} {path} cannot be read: {reason(error)}; {remedy}.") from None


def check_regular(path: Path | str, most: int) -> None:
    """Look at a file that a library will open by its name.

    Raises:
        OSError: As `open_regular`, and for a name that no file can have.
    """
    try:
        found = os.stat(path)
    except ValueError as error:  # a name with a null character
        raise NotRegular(f"no file can be called that ({error})") from None
    _check(found, most)


def is_regular(path: Path | str) -> bool:
    """Whether a regular file is there, whatever its size; False for a name that no file can have."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path | str) -> bool:
    """Whether a folder is there; False for a name that none can have."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def most_weights() -> int:
    """The bytes that a file of weights may have here."""
    try:
        return min(WEIGHTS, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return WEIGHTS


def reason(error: OSError) -> str:
    """What went wrong, for a sentence."""
    return error.strerror or str(error)


KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def _check(found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in KINDS if test(found.st_mode)), "something else")
        raise (IsADirectoryError if kind == "a folder" else NotRegular)(f"it is {kind}, not a regular file")
    if found.st_size > most:
        raise NotRegular(_too_large(found.st_size, most))


def _too_large(size: int, most: int) -> str:
    return f"it has {size:,} bytes, more than the {most:,} that are read here"
