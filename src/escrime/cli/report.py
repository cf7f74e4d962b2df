"""`escrime report`: a run, in whatever form."""

from pathlib import Path
from typing import Annotated

import typer

from ..commands.report import FORMATS, known_format, report_files, report_text
from ..terminal import printable
from .app import app
from .options import FailUnder, Strict, believed, check_gate, robust_enough, say

REPORT_EXAMPLES = """Examples:

  escrime report runs/digits

  escrime report runs/digits --format json | jq '.verdicts[].sentence'

  escrime report runs/digits --format md --out appendix.md

  escrime report runs/digits --format pdf

  escrime report runs/evaluate-mine --format junit --fail-under 0.4 --out
  junit.xml

html and pdf draw the figures again. The others draw nothing: one document goes to the screen, or to the file of --out."""


@app.command(epilog=REPORT_EXAMPLES)
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/digits.")],
    format: Annotated[
        str,
        typer.Option(metavar="FORMAT", help=", ".join(f"{name} ({format.what})" for name, format in FORMATS.items()) + "."),
    ] = "html",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: RUN/report.FORMAT for html and pdf, else the screen.")
    ] = None,
    strict: Strict = False,
    fail_under: FailUnder = None,
) -> None:
    """Draw the figures, the claims table and report.html again, from the records alone; or give them in another format."""
    check_gate(fail_under)
    if known_format(format).text is not None:
        text = report_text(folder, format, fail_under)
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
    if fail_under is not None:
        from ..report.validity import least_robust

        robust_enough(least_robust(folder), fail_under)
