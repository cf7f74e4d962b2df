"""What a reader that has gone, as `head` does, means: the program ends, without a word."""

import errno
import os
import sys

from ..terminal import GONE


def flush_or_leave() -> None:
    """Write what is left for standard output; leave with GONE where nobody reads it any more."""
    try:
        sys.stdout.flush()
    except OSError as error:  # or the disk is full, which was told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else it is tried again at the end, and fails aloud
        if error.errno == errno.EPIPE:
            sys.exit(GONE)
