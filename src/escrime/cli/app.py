"""The program that the commands belong to."""

from typing import Annotated

import typer

from .. import __version__

app = typer.Typer(
    name="escrime",
    help="How easily an image classifier can be fooled, what hardening it buys, and whether that answer can be believed.",
    epilog="Start with:  escrime run digits   (four minutes, no download)",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"escrime {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass
