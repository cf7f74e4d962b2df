"""`escrime board`: many runs on one page."""

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .options import say

BOARD_EXAMPLES = """Examples:

  escrime board runs

  escrime board runs/evaluate-net runs/evaluate-net-2 --out net.html

Only what can be compared stands in one table: the same images, norm, ε and attacker. A model that is in several runs under
one name gets a curve, and a paired test from each run to the next. Links lead to each run's report.html."""


@app.command(epilog=BOARD_EXAMPLES)
def board(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Run folders, or folders that hold them: runs.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("board.html"),
) -> None:
    """All runs on one page: models by worst case, believed or not, and whether a new version is worse."""
    from ..commands.board import draw_board
    from ..commands.shared.display import Display

    shown, left_out = draw_board(runs, out, Display())
    rest = f"; {left_out} folder{'s' if left_out != 1 else ''} left out, with the reason on the page" if left_out else ""
    say(f"{shown} run{'s' if shown != 1 else ''}{rest}; open {out}")
