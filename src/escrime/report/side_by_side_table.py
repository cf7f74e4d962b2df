"""Two runs side by side, as a table in the terminal."""

from rich.console import Console
from rich.table import Table

from ..bars import say
from ..norms import DEFAULT
from ..results.names import defense_name
from ..results.statistics import p_text
from ..terminal import make_console
from .formatting import fraction_text
from .side_by_side import CLEAN, Pair, SideBySide, interval, sentence

MARKS = {"better": " ▲", "worse": " ▼"}


def show(found: SideBySide, console: Console | None = None) -> None:
    """Print the warnings, a table for each pair of models, and the result in a sentence."""
    console = console or make_console()
    for warning in found.warnings:
        console.print(f"Careful: {warning}")
    for models in dict.fromkeys(pair.models for pair in found.pairs):
        mine = [pair for pair in found.pairs if pair.models == models]
        first, second = (f"{folder}: {model}" for folder, model in zip(found.folders, models))
        images = f"{found.subset} images" if found.subset else "images"
        for line in ("", f"first:  {first}", f"second: {second}", f"{found.shared} {images} in common", ""):
            console.print(line)
        for case in dict.fromkeys((pair.defense, pair.threat) for pair in mine):
            say(console, table([pair for pair in mine if (pair.defense, pair.threat) == case]))
            console.print()
    console.print(
        "% right [95 % interval]; difference: second minus first in points, paired. p: McNemar's exact test, for averages over "
        f"noise its extension by sign flips, corrected for {len(found.pairs)} rows (Holm); ▲ better, ▼ worse."
    )
    console.print(sentence(found))


def table(pairs: list[Pair]) -> Table:
    """The rows of one defense and threat level; equal widths, so that tables stand in line."""
    title = ", ".join(part for part in (defense_name(pairs[0].defense), pairs[0].threat) if part)
    drawn = Table(
        title=title, title_justify="left", title_style="bold", header_style="", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    drawn.add_column("attack", min_width=10)
    for name, width in (("ε", 5), ("n", 4), ("first", 13), ("second", 13), ("difference", 17), ("p", 9)):
        drawn.add_column(name, justify="right", min_width=width, no_wrap=True)
    for pair in pairs:
        drawn.add_row(*row(pair))
    return drawn


def row(pair: Pair) -> list[str]:
    c = pair.comparison
    norm = f", {pair.norm}" if pair.norm not in ("", DEFAULT) and pair.norm not in pair.attack else ""
    eps = "" if pair.attack == CLEAN else fraction_text(c.eps, pair.norm)
    shares = [share(accuracy, c.n) for accuracy in (c.accuracy_second, c.accuracy_first)]
    gain = f"{100 * c.difference:+.1f} [{100 * c.low:+.0f}, {100 * c.high:+.0f}]".replace("-", "−")
    return [pair.attack + norm, eps, str(c.n), *shares, gain, p_text(pair.p_holm) + MARKS.get(pair.verdict, "  ")]


def share(accuracy: float, n: int) -> str:
    low, high = interval(accuracy, n)
    return f"{100 * accuracy:.1f} [{100 * low:.0f}–{100 * high:.0f}]"
