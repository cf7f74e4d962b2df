"""The command line: parse, call, print. One file for each command, which are found here; heavy imports happen inside the
commands, so that --help is there at once."""

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from traceback import format_exception
from typing import NoReturn

import typer

from ..discovery import modules_in
from ..errors import EscrimeError
from ..terminal import cut, printable
from .app import app
from .command import complete_commands
from .completion import bash_words
from .options import command, say
from .pipes import flush_or_leave
from .signals import ended_like_ctrl_c

modules_in(__name__, __path__)  # each command registers itself
complete_commands(app)

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: one sentence on bad input, a traceback only with --debug."""
    # Threads that sleep while they wait cost little on an idle machine; spinning ones make a shared one 10 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where a terminal has no ε, a question mark will do
            stream.reconfigure(errors="replace")
    debug = "--debug" in sys.argv[1:]
    formats = warnings.formatwarning
    if not debug:  # the sentence, without the line of code that warns
        warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(message)}\n"
    if debug:  # accepted anywhere on the line
        sys.excepthook = lambda *error: typer.echo(printable("".join(format_exception(*error)), lines=True), nl=False, err=True)
        sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "--debug")]
    try:
        with bash_words(), ended_like_ctrl_c() as ended:
            app()
    except EscrimeError as error:
        if debug:
            raise
        say(f"error: {cut(error)}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stopped:  # typer makes the second of the first
        if isinstance(stopped, SystemExit) and stopped.code != 130:
            raise
        _stop(ended)
    except Exception as error:
        if ended:
            _stop(ended)
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            say(f"error: nothing more can be written here ({error.strerror}); free some space, and run again.", err=True)
            sys.exit(2)
        say(
            f"error: {type(error).__name__}: {cut(error)}. This is a defect of escrime or of a model it was given; "
            f"see the traceback with: {command()} --debug",
            err=True,
        )
        sys.exit(1)
    finally:
        warnings.formatwarning = formats
        flush_or_leave()


def _stop(ended: Sequence[int]) -> NoReturn:
    """Say how to go on, and leave as who was ended by a signal does."""
    typer.echo("", err=True)
    say(f"stopped; what is finished is kept. Continue with: {command()}", err=True)
    sys.exit(128 + (ended[0] if ended else signal.SIGINT))
