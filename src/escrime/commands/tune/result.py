"""The result of `escrime tune`: the same as JSON, as CSV and as a table."""

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from ...evaluation.tuning import Tuning
from ...report.formatting import fraction_text
from ...results.choosing import RULE
from ...results.threats import ADAPTIVE, TRANSFER
from ...terminal import duration
from ..shared.display import Display
from ..shared.folder import RunFolder


def as_json(found: Tuning, choosing: int, validating: int) -> dict:
    """JSON values: every point, the front, what was chosen and by which rule, the validation, passes per image, the verdict."""
    choice, spent = found.choice, found.records[["forwards", "backwards"]].sum() / choosing
    named = lambda point: {"eps_max": point[0], "samples": point[1]}  # noqa: E731
    rows = found.table.to_dict("records")
    return {
        "images": {"choosing": choosing, "validating": validating},
        "rows": rows,
        "front": [named((row["eps_max"], row["samples"])) for row in rows if row["front"]],
        "rule": RULE,
        "best": named(choice.best),
        "chosen": named(choice.chosen),
        "worth_it": choice.worth_it,
        "undecided": found.undecided,
        "best_over_chosen": dict(zip(("difference", "standard_error"), choice.behind)),
        "best_over_undefended": dict(zip(("difference", "standard_error"), choice.gain)),
        "validation": _validation(found.validated) | {"confirmed": found.confirmed},
        "passes_per_image": {
            **{name: float(spent[name]) for name in ("forwards", "backwards")},
            "times_as_many_unshared": found.grid.sharing,
        },
        "notes": found.notes,
        "verdict": found.sentence,
    }


def _validation(validated: dict) -> dict:
    """The same with names in place of positions."""
    named = lambda shares: {name: dict(zip(("accuracy", "low", "high"), each)) for name, each in shares.items()}  # noqa: E731
    return validated | {side: named(validated[side]) for side in ("candidate", "undefended")}


def csv_of(table: pd.DataFrame) -> str:
    """All points with their intervals."""
    return table.to_csv(index=False, float_format="%.6g")


def show(display: Display, folder: RunFolder, result: dict) -> None:
    """The result as people read it."""
    say, eps, against = display.say, result["settings"]["eps"], result["settings"]["against"]
    title = f"% of {result['images']['choosing']} images right [95 % interval], attacks with ε = {fraction_text(eps)}"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for heading in ("ε_max", "N", "clean", TRANSFER, ADAPTIVE, "mean"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in result["rows"]:
        marks = [word for word in ("front", "best", *(() if result.get("undecided") else ("chosen",))) if row[word]]
        name = "undefended" if row["defense"] == "none" else fraction_text(row["eps_max"])
        cells = [_cell(row, name) for name in ("clean", TRANSFER, ADAPTIVE)]
        table.add_row(name, str(row["samples"]), *cells, f"{100 * row['mean']:.1f}", " ".join(marks))
    say(table)
    say(f"The mean is of clean accuracy and accuracy under {_counted(against)}. {RULE}")
    spent, seconds = result["passes_per_image"], result["seconds"]
    say(
        f"{spent['forwards']:.0f} forward and {spent['backwards']:.0f} backward passes per image, "
        f"{spent['times_as_many_unshared']:.1f} times as many without sharing; {duration(sum(seconds.values()))} in all."
    )
    for note in result["notes"]:
        say(f"note: {note}")
    say(f"Points: {folder / 'tune.csv'}. Figure: {folder / 'pareto.png'}")
    say(result["verdict"])


def _counted(against: str) -> str:
    return "the transfer attack" if against == TRANSFER else "the better of the two attacks"


def _cell(row: dict, name: str) -> str:
    return f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.0f}–{100 * row[f'{name}_high']:.0f}]"
