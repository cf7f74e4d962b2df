"""An evaluation as text that fits a terminal of 80 columns, and as the HTML that a notebook shows."""

import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd

from ..budgets import eps_text
from ..norms import DEFAULT
from ..terminal import printable
from .records import WORST, summarize
from .statistics import share_text
from .verdicts import clean_accuracy

WIDTH = 80
MOST = 40  # rows of a table; of more, the worst cases are shown
NAMES = ("model", "attack", "defense")  # columns that are shortened where the table is too wide, in this order
LEAST = 8  # letters of them that are left


class Summary(pd.DataFrame):  # type: ignore[misc]  # pandas comes without types
    """A DataFrame that prints all of its columns, in blocks of 80 letters where it has to: pandas leaves out those in the
    middle, which here are the attack and ε."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return Summary

    def __repr__(self) -> str:
        with pd.option_context("display.max_columns", None, "display.width", WIDTH, "display.precision", 4):
            return str(super().__repr__())


def result_text(records: pd.DataFrame, summary: pd.DataFrame, sentences: Sequence[str]) -> str:
    """The table of `result_rows`, and below it each of the sentences, in lines of at most WIDTH letters."""
    head, *rows = result_rows(records, summary)
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    for name in (name for name in NAMES if name in head):
        at = head.index(name)
        widths[at] = min(widths[at], max(LEAST, len(name), widths[at] - max(0, sum(widths) + 2 * len(widths) - 2 - WIDTH)))
    lines = [_line(row, widths, head) for row in [head, *rows]]
    if len(summary) > MOST:
        lines.append(f"The worst cases of {len(summary)} rows; summary() has them all.")
    for sentence in sentences:
        lines += ["", *textwrap.wrap(printable(sentence), WIDTH)]
    return "\n".join(lines)


def result_html(records: pd.DataFrame, summary: pd.DataFrame, sentences: Sequence[str]) -> str:
    """The same for a notebook."""
    head, *rows = result_rows(records, summary)
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    below = "".join(f"<p>{escape(printable(sentence))}</p>" for sentence in sentences)
    return f"<table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cells(kind: str, row: Sequence[str]) -> str:
    return "".join(f"<{kind}>{escape(printable(cell))}</{kind}>" for cell in row)


def result_rows(records: pd.DataFrame, summary: pd.DataFrame) -> list[list[str]]:
    """The head of the table and its rows: the accuracy of every model without attack, then under each attack and ε."""
    table = summary if len(summary) <= MOST else summary[summary["attack"].str.startswith(WORST)]
    if table["attack"].nunique() == 2:  # the worst case of one attack is that attack
        table = table[~table["attack"].str.startswith(WORST)]
    several = table["subset"].nunique() > 1
    head = [*(["images"] if several else []), "model", "defense", "threat", "attack", "ε", "accuracy", "95 % interval", "n"]
    rows = [head]
    for (model, defense), own in table.groupby(["model", "defense"], sort=False):
        if not (own["eps"] == 0).any() and not several:
            rows.append([model, defense, "", "none", "0", *_numbers(_unattacked(records, model, defense))])
        for row in own.to_dict("records"):
            names = [row["model"], row["defense"], row["threat"], row["attack"]]
            eps = eps_text(row["eps"], row.get("norm", DEFAULT) == DEFAULT)
            rows.append([*([row["subset"]] if several else []), *names, eps, *_numbers(row)])
    return rows


def _unattacked(records: pd.DataFrame, model: str, defense: str) -> dict[str, Any]:
    """What a summary would say of a model at ε = 0."""
    own = records[(records["model"] == model) & (records["defense"] == defense)].drop_duplicates("image")
    share = clean_accuracy(own, model, defense, own["image"])
    return dict(summarize(own.assign(correct=share)).iloc[0])


def _numbers(row: dict[str, Any]) -> Iterable[str]:
    return share_text(row["accuracy"]), f"{row['low']:.0%}–{row['high']:.0%}", str(row["n"])


def _line(row: list[str], widths: list[int], head: list[str]) -> str:
    cells = [_short(cell, width) for cell, width in zip(row, widths, strict=True)]
    right = head.index("ε")
    padded = [cell.rjust(w) if at >= right else cell.ljust(w) for at, (cell, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(padded).rstrip()


def _short(cell: str, width: int) -> str:
    """`cell` without its middle where it is too long: names often differ at their ends."""
    tail = (width - 1) // 2
    return cell if len(cell) <= width else f"{cell[: width - 1 - tail]}…{cell[len(cell) - tail :]}"
