"""Make docs/results/paper.md and its figures from docs/results/paper/*.json; or first keep what the page needs of a run.

python -m benchmarks.paper                                      # the page
python -m benchmarks.paper --keep runs/NAME --as mobilenet_v2   # docs/results/paper/mobilenet_v2.json, then the page
python -m benchmarks.paper --keep runs/tune-NAME --as tune      # what `escrime tune` found, with its figure
python -m benchmarks.paper --keep epochs.json --as epochs       # what benchmarks.hardening --out wrote
"""

import argparse
from pathlib import Path

from .keep import keep_any
from .page import write_page

FOLDER = Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keep", type=Path, metavar="RUN", help="a run folder, or such a file")
    options.add_argument("--as", dest="name", help="the name of the file")
    options = options.parse_args()
    if (options.keep is None) != (options.name is None):
        raise SystemExit("--keep RUN and --as NAME go together")
    if options.keep:
        print(keep_any(options.keep, FOLDER / "paper" / f"{options.name}.json"))
    print(write_page(FOLDER))


if __name__ == "__main__":
    main()
