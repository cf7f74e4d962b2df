"""The result of `escrime evaluate`: the same as a table, as sentences and as JSON."""

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from ...budgets import same
from ...evaluation.budget import judged_by_all, left_open
from ...evaluation.pipeline import open_checks
from ...report.formatting import fraction_text, listing
from ...report.validity import read_verdicts
from ...results.comparisons import clearly_weaker, per_class
from ...results.crossings import crossings
from ...results.names import mask_in_words
from ...results.records import STRONGER, WORST, in_subset, read_records, summarize, worst_case
from ...results.statistics import total, wilson
from ...results.threats import WHITE_BOX
from ..shared.store import FolderStore
from .assessment import Assessment

WEAKEST = 5  # classes


def result(run: Assessment) -> dict:
    """JSON values: the request, clean and robust accuracy at the headline ε with their 95 % intervals, every attack at every
    ε, the weakest classes and whether each is so beyond chance, the verdict of the checks, and how many images the time has
    left open."""
    verdict, eps = read_verdicts(run.folder.path)[0], run.request.epsilons[0]
    # A dataset with several ways to count is counted by its first, which is the verdict's.
    records = in_subset(read_records(run.folder.path), verdict["subset"] or None).assign(subsets=verdict["subset"])
    worst = worst_case(records)
    records = records[records["image"].isin(judged_by_all(records))]
    clean = records[records["eps"] == 0].drop_duplicates("image")
    table = summarize(pd.concat([records, worst], ignore_index=True))
    names = ("attack", "eps", "n", "accuracy", "low", "high")
    headline = worst[same(worst["eps"], eps)]
    classes, weaker = per_class(headline).sort_values(["accuracy", "class"], kind="stable"), clearly_weaker(headline)
    right = total(clean["correct"])
    typed = lambda at: next((eps for eps in run.request.epsilons if same(eps, at)), at)  # noqa: E731  as the request has it
    return {
        "model": run.candidate.loaded.origin,
        "data": run.request.images,
        "threat": run.candidate.access,
        "norm": run.request.norm,
        "eps": eps,
        "mask": None if run.mask is None else run.mask.about(),
        "n": int(clean["image"].nunique()),
        "open": _images(run, verdict["subset"]) - int(clean["image"].nunique()),
        "left_open": _left_open(run),
        "clean": {"accuracy": right / len(clean), **dict(zip(("low", "high"), wilson(right, len(clean))))},
        "robust": {name: verdict[name] for name in ("accuracy", "low", "high", "n")},
        "attacks": [{name: row[name] for name in names} | {"eps": typed(row["eps"])} for row in table.to_dict("records")],
        "weakest": [
            {
                "class": run.test.classes[row["class"]],
                **{name: row[name] for name in names[2:]},
                "clear": row["class"] in weaker,
            }
            for row in classes.head(WEAKEST).to_dict("records")
        ],
        "verdict": {name: verdict[name] for name in ("sentence", "believe")},
        "notes": [crossing.sentence for crossing in crossings(records, worst)],
        "passes_per_image": float((records["forwards"] + records["backwards"]).groupby(records["image"]).sum().mean()),
        "settings": run.request.as_dict(),
        "report": str(run.folder / "report.html"),
    }


def _left_open(run: Assessment) -> dict:
    """What the time did not suffice for, of the images, the attacks and the checks, as `budget.left_open`."""
    cut = [what for found in open_checks(FolderStore(run.folder)).values() for what in found]
    return left_open(read_records(run.folder.path), list(run.candidate.attacks), len(run.test), cut)


def _images(run: Assessment, subset: str) -> int:
    return int(run.test.subsets[subset].sum()) if subset else len(run.test)


def show(run: Assessment, found: dict) -> None:
    """The result as people read it."""
    say = run.display.say
    table = Table(title=f"% of {found['n']} images right [95 % interval]", title_justify="left", box=SIMPLE, pad_edge=False)
    grid = sorted({row["eps"] for row in found["attacks"]})
    table.add_column("attack")
    for eps in grid:
        table.add_column("clean" if eps == 0 else f"ε = {fraction_text(eps, found['norm'])}", justify="right")
    rows: dict[str, dict] = {}
    for row in found["attacks"]:
        name = f"{WORST} of all" if row["attack"].startswith(WORST) else _title(row["attack"])
        rows.setdefault(name, {})[row["eps"]] = row
    for name in sorted(rows, key=lambda name: name.startswith(WORST)):
        table.add_row(name, *[_cell(rows[name].get(eps)) for eps in grid])
    say(table)
    weak = [f"“{row['class']}” ({_cell(row)} of {row['n']})" for row in found["weakest"] if row["clear"]]
    if weak:
        say(f"Less often right than the other classes at ε = {fraction_text(found['eps'], found['norm'])}: {listing(weak)}.")
    for note in found["notes"]:
        say(note)
    if found["mask"]:
        say(f"Threat model: {mask_in_words(found['mask'])}.")
    if found["threat"] != WHITE_BOX:
        say(f"Threat model: {found['threat']} only. Gradients were not used; who has them may do better.")
    if found["open"]:
        say(f"Left open when the time was up: {found['open']} of {found['n'] + found['open']} images. Run again to go on.")
    for name, count in found["left_open"]["attacks"].items():
        if count > found["open"]:
            say(f"Left open when the time was up: {name} on {count} images.")
    if found["left_open"]["checks"]:
        say(f"Cut short when the time was up: {', '.join(found['left_open']['checks'])}. Run again to go on.")
    say(("" if found["verdict"]["believe"] else "NOT AS IT STANDS: ") + found["verdict"]["sentence"])
    say(f"About {found['passes_per_image']:.0f} passes per image. Report: {found['report']}")


def _title(attack: str) -> str:
    return "stronger (escrime's own)" if attack.startswith(STRONGER) else attack


def _cell(row: dict | None) -> str:
    return "" if row is None else f"{row['accuracy']:.1%} [{100 * row['low']:.0f}–{100 * row['high']:.0f}]"
