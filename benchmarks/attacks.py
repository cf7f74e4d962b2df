"""escrime's attacks against the fastest of foolbox, torchattacks, ART and pyautoattack, as ratios of time.

Both sides run the same work on the same images in one batch, in turns (peer, ours, peer, ours, …), because the speed of
a machine wanders; the median of the rounds counts. escrime is given the original model and prepares its copy on the clock.

    PEERS=peers python -m benchmarks.attacks --data imagenette --folder DIR --googlenet G.safetensors --resnet R.safetensors \\
        --googlenet-robust GR.safetensors --resnet-robust RR.safetensors --rounds 5 --out speed.md
    PEERS=peers python -m benchmarks.attacks --settings resnet --images 4 --rounds 1        # a smoke run, random weights

To install the peers: """

import sys
from functools import cache
from pathlib import Path

from escrime import EscrimeError

from .contest import Result, contest
from .models import SETTINGS
from .options import listed, make_subject, parser, tell
from .output import as_json, markdown
from .overhead import overhead
from .peers import INSTALL, available
from .rows import ROWS

OVERHEAD = "overhead"


def main() -> int:
    options = parser(__doc__ + INSTALL + ".")
    kinds = [*ROWS, OVERHEAD]
    options.add_argument("--rows", type=listed(kinds), default=kinds, help=f"of {','.join(kinds)} (default: all)")
    options.add_argument("--rounds", type=int, default=5, help="timed rounds of each side (default: 5)")
    options = options.parse_args()
    peers, absent = available()
    for sentence in absent:
        tell(sentence)
    try:
        results, overheads = measure(options, peers)
    except EscrimeError as error:
        tell(str(error))
        return 2
    table = markdown(results, overheads, options.device)
    print(table)
    if options.out:
        is_json = options.out.endswith(".json")
        Path(options.out).write_text(as_json(results, overheads, options.device) if is_json else table, "utf-8")
    return 0


def measure(options, peers: list) -> tuple[list[Result], list]:
    """Every row asked for, in every setting asked for."""
    results, overheads = [], []
    for name in options.settings:
        setting = SETTINGS[name]
        subjects = cache(lambda hardened, setting=setting: make_subject(options, setting, hardened))
        for row in [ROWS[key] for key in options.rows if key in ROWS and name in ROWS[key].goals]:
            tell(f"{setting.title}: {row.title} …")
            result = contest(row, setting, subjects(row.hardened), peers, options.rounds, options.target)
            tell(f"    {result.skipped or f'{result.ratio:.2f}× against {result.peer.name}'}")
            results.append(result)
        if OVERHEAD in options.rows:
            tell(f"{setting.title}: overhead …")
            overheads.append(overhead(setting, subjects(False), options.rounds))
    return results, overheads


if __name__ == "__main__":
    sys.exit(main())
