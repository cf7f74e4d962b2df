"""Make docs/results/threats.md, from what is kept of runs of `escrime evaluate --threat …`.

python -m benchmarks.threats                                                       # the page, from the files that are kept
python -m benchmarks.threats --keep RUN --as NAME --network "…" --training "…"     # keep what the page needs of a finished run
"""

import argparse
from pathlib import Path

from . import page

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keep", type=Path, metavar="RUN", help="the folder of a finished run")
    for name, what in (("as", "of the file"), ("network", "as the page shows it"), ("training", "as the page shows it")):
        options.add_argument(f"--{name}", dest=f"as_{name}", help=what)
    given = options.parse_args()
    if given.keep:
        if None in (given.as_as, given.as_network, given.as_training):
            options.error("--keep needs --as, --network and --training too")
        page.keep(given.keep, RESULTS / "threats" / f"{given.as_as}.json", given.as_network, given.as_training)
    print(page.write_page(RESULTS))


if __name__ == "__main__":
    main()
