"""A run's report in the format that is asked for: a page, a text, or what a CI system reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EscrimeError
from ..files import write_whole
from ..terminal import json_text
from ..validation import check_choice

if TYPE_CHECKING:
    from ..report.run import Run


def _md(run: "Run", fail_under: float | None) -> str:
    from ..report.markdown import markdown

    return markdown(run)


def _json(run: "Run", fail_under: float | None) -> str:
    from ..report.document import as_document

    return json_text(as_document(run), allow_nan=False) + "\n"


def _junit(run: "Run", fail_under: float | None) -> str:
    from ..report.document import as_document
    from ..report.junit import junit

    return junit(as_document(run), fail_under)


def _sarif(run: "Run", fail_under: float | None) -> str:
    from ..report.document import as_document
    from ..report.sarif import sarif

    return sarif(as_document(run), fail_under)


def _html(folder: Path, out: Path | None) -> list[Path]:
    from ..report.draw import draw_report

    files = draw_report(folder)
    page = files[-1]
    if out is not None and out.resolve() != page.resolve():
        write_whole(out, page.read_bytes())
        files.append(out)
    return files


def _pdf(folder: Path, out: Path | None) -> list[Path]:
    from ..report.draw import draw_report
    from ..report.pdf import browser, print_pdf

    browser()  # refused before the work
    files = draw_report(folder, pdf=True)
    return [*files, print_pdf(files[-1], out or folder / "report.pdf")]


@dataclass(frozen=True)
class Format:
    """What it is, in words of the help; and its function, of the one kind or the other."""

    what: str
    text: "Callable[[Run, float | None], str] | None" = None  # of the records, with the gate; draws nothing
    files: Callable[[Path, Path | None], list[Path]] | None = None  # draws into the run folder, or to the given file


FORMATS = {
    "html": Format("the page", files=_html),
    "md": Format("Markdown", text=_md),
    "json": Format("every number", text=_json),
    "junit": Format("XML for CI", text=_junit),
    "sarif": Format("for code scanning", text=_sarif),
    "pdf": Format("needs an installed Chromium", files=_pdf),
}


def known_format(format: str) -> Format:
    """The format of FORMATS with this name.

    Raises:
        EscrimeError: For another name; it tells those there are.
    """
    return FORMATS[check_choice("--format", format, FORMATS)]


def report_text(folder: Path | str, format: str, fail_under: float | None = None) -> str:
    """The report as text, from the records; nothing is drawn and the folder stays as it is.

    Args:
        folder: Of the run.
        format: A name of FORMATS whose report is a text.
        fail_under: The least robust accuracy that passes, a fraction of 1, for junit and sarif; None: no gate.

    Returns:
        The whole document.

    Raises:
        EscrimeError: For another format, and for what is no run or damaged.
    """
    from ..report.run import read_run

    if (text := known_format(format).text) is None:
        raise EscrimeError(f"--format {format} is drawn as files and is no text; use report_files.")
    return text(read_run(folder), fail_under)


def report_files(folder: Path | str, format: str, out: Path | None = None) -> list[Path]:
    """Draw the report into the run folder; for pdf every figure as PDF too.

    Args:
        folder: Of the run.
        format: A name of FORMATS whose report is drawn.
        out: Where the report goes instead of report.FORMAT in the folder.

    Returns:
        The files, the one that was asked for last.

    Raises:
        EscrimeError: For another format, for what is no run or damaged or cannot be written, and for pdf without Chromium.
    """
    if (files := known_format(format).files) is None:
        raise EscrimeError(f"--format {format} is a text and draws no files; use report_text.")
    return files(Path(folder), out)
