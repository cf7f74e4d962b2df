"""`escrime report`: a run, in whatever form."""

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import printable
from .app import app
from .options import Strict, believed, say

REPORT_EXAMPLES = """Examples:

  escrime report runs/digits

  escrime report runs/digits --format json | jq '.verdicts[].sentence'

  escrime report runs/digits --format md --out appendix.md

  escrime report runs/digits --format pdf

html and pdf draw the figures again. json and md draw nothing: one document goes to the screen, or to the file of --out."""


@app.command(epilog=REPORT_EXAMPLES)
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/digits.")],
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="html, md, json, or pdf (needs an installed Chromium).")
    ] = "html",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the screen for md and json, else RUN/report.FORMAT.")
    ] = None,
    strict: Strict = False,
) -> None:
    """Draw the figures, the claims table and report.html again, from the records alone; or give them in another format."""
    from ..report.formats import known_format, report_files, report_text

    if known_format(format) in ("md", "json"):
        text = report_text(folder, format)
        if out is None:
            typer.echo(printable(text, lines=True), nl=False)
        else:
            from ..files import write_whole

            write_whole(out, text)
            say(f"wrote {out}")
    else:
        files = report_files(folder, format, out)
        say(f"{len(files)} files drawn; open {files[-1]}")
    if strict:
        believed(folder)
