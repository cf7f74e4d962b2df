"""Standard output for JSON alone: what a user's model prints goes to standard error."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO


@contextmanager
def prints_aside(aside: bool = True) -> Iterator[TextIO]:
    """Within the block what is printed goes to stderr, by libraries in C as well. Yields the stream that is still stdout."""
    if not aside:
        yield sys.stdout
        return
    stdout = sys.stdout
    try:
        number, error = stdout.fileno(), sys.stderr.fileno()
    except (AttributeError, OSError):  # no file, as in a notebook: only Python can print there
        with redirect_stdout(sys.stderr):
            yield stdout
        return
    stdout.flush()
    kept = os.dup(number)
    with os.fdopen(os.dup(number), "w", encoding=stdout.encoding, errors=stdout.errors, buffering=1) as own:
        os.dup2(error, number)
        try:
            with redirect_stdout(sys.stderr):
                yield own
        finally:
            ctypes.CDLL(None).fflush(None)  # what C has not written yet
            os.dup2(kept, number)
            os.close(kept)
