"""Standard output for JSON alone: what a user's model prints goes to standard error."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO


@contextmanager
def reserving_stdout(reserved: bool = True) -> Iterator[TextIO]:
    """Within the block what is printed goes to stderr, by libraries in C as well. Yields the stream that is still stdout."""
    if not reserved:
        yield sys.stdout
        return
    stdout = sys.stdout
    try:
        number = stdout.fileno()
    except (AttributeError, OSError):  # no file, as in a notebook: only Python can print there
        with redirect_stdout(sys.stderr):
            yield stdout
        return
    try:
        error = os.dup(sys.stderr.fileno())
    except (AttributeError, OSError):  # there is none
        error = os.open(os.devnull, os.O_WRONLY)
    stdout.flush()
    kept = os.dup(number)
    with os.fdopen(os.dup(number), "w", encoding=stdout.encoding, errors=stdout.errors, buffering=1) as own:
        os.dup2(error, number)
        os.close(error)
        try:
            with redirect_stdout(sys.stderr):
                yield own
        finally:
            stdout.flush()  # what was given to it under another name, as loggers do
            ctypes.CDLL(None).fflush(None)  # what C has not written yet
            os.dup2(kept, number)
            os.close(kept)
