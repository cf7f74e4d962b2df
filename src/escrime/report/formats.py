"""A run's report in the format that is asked for: a page, a text, or what a CI system reads."""

from pathlib import Path

from ..errors import EscrimeError, nearest
from ..files import write_whole
from ..terminal import json_text

TEXTS = ("md", "json", "junit", "sarif")
FORMATS = ("html", *TEXTS, "pdf")


def report_text(folder: Path | str, format: str, fail_under: float | None = None) -> str:
    """The report as text, in one of TEXTS, from the records; nothing is drawn and the folder stays as it is.

    fail_under: the least robust accuracy that passes, for junit and sarif.
    """
    from .document import as_document
    from .run import read_run

    run = read_run(folder)
    if format == "md":
        from .markdown import markdown

        return markdown(run)
    if format == "junit":
        from .junit import junit

        return junit(as_document(run), fail_under)
    if format == "sarif":
        from .sarif import sarif

        return sarif(as_document(run), fail_under)
    return json_text(as_document(run), allow_nan=False) + "\n"


def report_files(folder: Path | str, format: str, out: Path | None = None) -> list[Path]:
    """Draw the report into the run folder ("html"), with "pdf" also report.pdf and every figure as PDF; return the files,
    the one that was asked for last. The file goes to `out` instead, where that is given."""
    from .draw import draw_report
    from .pdf import browser, print_pdf

    folder = Path(folder)
    if format == "pdf":
        browser()  # refused before the work
    files = draw_report(folder, pdf=format == "pdf")
    page = files[-1]
    if format == "pdf":
        return [*files, print_pdf(page, out or folder / "report.pdf")]
    if out is not None and out.resolve() != page.resolve():
        write_whole(out, page.read_bytes())
        files.append(out)
    return files


def known_format(format: str) -> str:
    """The format, if there is such a one.

    Errors: EscrimeError that names those there are.
    """
    if format not in FORMATS:
        raise EscrimeError(f"--format {format!r} is not one of {', '.join(FORMATS)}.{nearest(format, FORMATS)}")
    return format
