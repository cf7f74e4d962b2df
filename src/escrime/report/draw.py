"""A run folder → figures/, claims.json and report.html."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import EscrimeError
from ..files import abandoned
from .claims import judge
from .figures import FIGURES, draw_figures
from .page import render_page
from .run import read_run

FRESH = ".report-"  # how the folder of an unfinished report begins


def draw_report(folder: Path | str, progress: Callable[[int, int], None] | None = None, *, pdf: bool = False) -> list[Path]:
    """Draw everything the run folder's records can show; return the files written, figures first and report.html last.

    Everything is drawn beside the old report and takes its place only when complete. A figure without data is left out
    and named, with the reason, on the page. `progress(done, total)` is called after every step. pdf: every figure also as
    PDF, which takes a third longer.

    Raises:
        EscrimeError: For a folder that is not a run, has no records, or cannot be written.
    """
    folder = Path(folder)
    run = read_run(folder)
    total, done = len(run.models) * len(FIGURES) + 2, 0

    def step(_: object = None) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    try:
        remove_abandoned(folder)
        fresh = Path(tempfile.mkdtemp(prefix=FRESH, dir=folder))
    except OSError as error:
        raise EscrimeError(
            f"{folder} cannot be written ({error.strerror}); free some space or copy the run elsewhere."
        ) from error
    try:
        drawn = draw_figures(run, fresh / "figures", step, pdf=pdf)
        claims = judge(run)
        write(fresh / "claims.json", json.dumps(claims, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        step()
        write(fresh / "report.html", render_page(run, drawn, claims))
        step()
        return publish(fresh, folder)
    except OSError as error:
        raise EscrimeError(
            f"the report of {folder} could not be written ({error.strerror or error}); free some space and run "
            f"`escrime report {folder}`: the records are untouched."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what a program that was killed while it drew has left; after an hour nobody can still be drawing there."""
    for path in folder.glob(f"{FRESH}*"):
        if abandoned(path, 3600):
            shutil.rmtree(path, ignore_errors=True)


def write(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def publish(fresh: Path, folder: Path) -> list[Path]:
    """Move the finished files into place and remove what an earlier report had and this one does not, unless its page is the
    same: then what was printed of it is too."""
    figures, page = folder / "figures", folder / "report.html"
    same = page.exists() and page.read_bytes() == (fresh / "report.html").read_bytes()
    figures.mkdir(exist_ok=True)
    written = []
    for path in sorted((fresh / "figures").iterdir()):
        written.append(figures / path.name)
        os.replace(path, written[-1])
    for old in figures.glob("fig[0-9]*-*.*"):
        if old not in written and old.suffix in (".png", ".svg", *([] if same else [".pdf"])):
            old.unlink()
    if not same:
        (folder / "report.pdf").unlink(missing_ok=True)  # of the page before; `--format pdf` prints this one
    for name in ("claims.json", "report.html"):
        os.replace(fresh / name, folder / name)
        written.append(folder / name)
    return written
