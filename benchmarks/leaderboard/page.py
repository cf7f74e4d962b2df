"""docs/results/leaderboard.md, from the files in docs/results/leaderboard/, and the rules for entering a row."""

import json
from pathlib import Path

from escrime.files import write_whole
from escrime.report.markdown import table
from escrime.terminal import duration

from ..paper.keep import machine
from .rows import LEAST
from .threats import HEADLINE, THREATS

NONE = "not measured"


def write_page(folder: Path) -> Path:
    """Write folder/leaderboard.md from folder/leaderboard/*.json; the strongest of 4/255 in l_inf first."""
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "leaderboard").glob("*.json"))}
    first = next(threat.key for threat in THREATS if threat.norm == "linf" and threat.eps == HEADLINE["linf"])
    order = sorted(kept, key=lambda name: -kept[name]["cells"].get(first, {"accuracy": -1})["accuracy"])
    path = folder / "leaderboard.md"
    blocks = [HEAD, accuracies(kept, order), HOW, made(kept, order), RULES]
    write_whole(path, "\n\n".join(filter(None, blocks)) + "\n")
    return path


def accuracies(kept: dict[str, dict], order: list[str]) -> str:
    if not kept:
        return "No network has been entered yet."
    heads = ["network", "training", "px", "n", "clean", *(threat.name for threat in THREATS)]
    rows = []
    for name in order:
        row = kept[name]
        cells = [shown(row["cells"].get(key)) for key in ("clean", *(threat.key for threat in THREATS))]
        rows.append([row["network"], row["training"], row["pixels"], row["n"], *cells])
    return table(heads, rows)


def shown(cell: dict | None) -> str:
    """An accuracy in percent with its interval; what is not to be believed says so."""
    if cell is None:
        return NONE
    text = f"{100 * cell['accuracy']:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"
    return text if cell.get("believed", True) else f"{text}, not believed"


def made(kept: dict[str, dict], order: list[str]) -> str:
    """How each row was made."""
    blocks = ["## How each row was made"] if kept else []
    for name in order:
        row = kept[name]
        alarms = f"; open alarms: {', '.join(row['alarms'])}" if row["alarms"] else ""
        blocks.append(
            f"**{row['network']}, {row['training']}** (`{name}`): weights `{row['weights']}`, {duration(row['seconds'])} on "
            f"{machine(row['hardware'])}, escrime {row['escrime']} at {row['commit'] or 'no commit'}, {row['created']}{alarms}."
        )
        blocks.append("```sh\n" + "\n".join(row["commands"]) + "\n```")
    return "\n\n".join(blocks)


HEAD = """# Imagenette, leak-free: who stands up to an attack

Robustness of networks on the images of Imagenette that ImageNet's training set does not hold (500, named `ILSVRC2012_val_*`;
3,791 of the 3,925 images of the standard validation set are ImageNet *training* images, so a network with ImageNet weights has
seen them). Percent right among the ten classes, with 95 % Wilson intervals. `python -m benchmarks.leaderboard` makes this page
from the files in `docs/results/leaderboard/`."""

HOW = """*FGSM* is one step, the paper's attack, and bounds nothing. The other columns are the worst case, image by image, over
FGSM, AutoAttack and whatever escrime's checks called for. *Not believed*: a check found something that forbids to believe the
number; what it was stands below."""

RULES = f"""## Entering a row

1. A classifier of the ten classes in the order of their WordNet ids, as anything that `escrime evaluate --model` takes. It was
   trained without any of the 500 leak-free images: 366 of them lie in Imagenette's `train` folder, and escrime takes them out
   of its own training by itself.
2. `python -m benchmarks.leaderboard --images IMAGENETTE leak-free` links the 500 images into a folder.
3. `python -m benchmarks.leaderboard --judge MODEL --data leak-free --name NAME --network "…" --training "…"` runs
   `escrime evaluate` once per norm, on at least {LEAST} images, as many of each class, and writes
   `docs/results/leaderboard/NAME.json` and this page. `--limit`, `--size`, `--mean` and `--std` may be given, a
   budget of time may not. It can be stopped and started again, and take one norm at a time (`--norms`).
4. A row holds what was measured, whatever it is: accuracies that are not believed stay in the table and say so. A defense
   with randomness or without gradients is welcome; the checks are made for it.
5. Hand in the JSON file and the regenerated page, from a commit without local changes, and where the weights can be had."""
