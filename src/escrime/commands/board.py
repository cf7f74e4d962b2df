"""One page for many runs."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import EscrimeError
from ..files import write_whole
from .shared.display import Display


def draw_board(places: Sequence[Path], out: Path, display: Display | None = None) -> tuple[int, int]:
    """Write the page of all runs in `places` (run folders, and folders that hold them) to `out`.

    Returns:
        How many runs are on it, and how many folders were left out; the page names them with the reason.

    Raises:
        EscrimeError: For a place that is no folder or holds no run, and for a page that cannot be written.
    """
    from ..report.board import read_board, run_folders
    from ..report.board_page import render_board

    if out.is_dir():
        raise EscrimeError(f"{out} is a folder; give a file, such as {out / 'board.html'}.")
    folders = run_folders(places)
    with (display or Display(quiet=True)).bar("Read the runs", len(folders)) as advance:
        board = read_board(folders, lambda: advance(1))
    write_whole(out, render_board(board, out))
    return len(board.runs), len(board.left_out)
