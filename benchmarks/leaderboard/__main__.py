"""Judge a network on the leak-free images of Imagenette, and make docs/results/leaderboard.md.

python -m benchmarks.leaderboard                                  # the page, from the files that are kept
python -m benchmarks.leaderboard --images IMAGENETTE leak-free    # link the 500 images into a folder
python -m benchmarks.leaderboard --judge MODEL --data leak-free --name NAME --network "…" --training "…"
"""

import argparse
from pathlib import Path

from . import rows
from .page import write_page
from .threats import grids

FOLDER = Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--images", nargs=2, type=Path, metavar=("IMAGENETTE", "OUT"), help="link the leak-free images into OUT"
    )
    options.add_argument("--judge", metavar="MODEL", help="a specification, as `escrime evaluate --model` takes it")
    options.add_argument("--data", type=Path, help="the folder that --images made")
    for name, what in (("name", "of the file"), ("network", "as the table shows it"), ("training", "as the table shows it")):
        options.add_argument(f"--{name}", help=what)
    options.add_argument("--limit", type=int, default=rows.LEAST, help="images, as many of each class")
    for name in ("size", "mean", "std"):
        options.add_argument(f"--{name}", help="as of `escrime evaluate`")
    options.add_argument("--norms", default=",".join(grids()), help="to judge it in now; the columns of others stay open")
    options.add_argument("--runs", type=Path, default=Path("runs/leaderboard"), help="where the run folders go")
    given = options.parse_args()
    if given.images:
        print(f"{rows.leak_free(*given.images)} images in {given.images[1]}")
        return
    if given.judge:
        missing = [name for name in ("data", "name", "network", "training") if getattr(given, name) is None]
        if missing:
            options.error(f"--judge needs {', '.join('--' + name for name in missing)} too")
        more = [text for name in ("size", "mean", "std") if (value := getattr(given, name)) for text in (f"--{name}", value)]
        norms = given.norms.split(",")
        if unknown := [name for name in norms if name not in grids()]:
            options.error(f"--norms {unknown[0]!r} is no norm of the table; use some of {','.join(grids())}")
        entry = rows.Entry(given.name, given.network, given.training, given.judge, tuple(more))
        folders = rows.judge(entry, given.data, given.limit, given.runs, norms)
        rows.keep(rows.row(entry, folders), FOLDER / "leaderboard" / f"{given.name}.json")
    print(write_page(FOLDER))


if __name__ == "__main__":
    main()
