"""The trade-off of a tuned defense: clean accuracy against accuracy under attack, one line per ε_max."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...results.threats import ADAPTIVE, TRANSFER
from ..formatting import fraction_text
from .style import AXIS, BLUE, GREEN, INK, MUTED, ORANGE, SPARE_COLORS, headline, new_figure, save, styled

SHADES = (BLUE, GREEN, *SPARE_COLORS)
SHAPES = "osD^vPX*"
OTHER_LEVEL = {ADAPTIVE: TRANSFER, TRANSFER: ADAPTIVE}
COUNTED = {ADAPTIVE: "adaptive or transfer", TRANSFER: TRANSFER}  # the stronger of the two, or the one
FAINT = {"linestyle": ":", "linewidth": 1, "alpha": 0.45}
NARROWEST = 6  # points of accuracy on an axis, so that a difference of half a point looks like one


def draw_pareto(result: dict, folder: Path) -> tuple[Path, Path]:
    """Write pareto.png and pareto.svg from what tune.json holds: its rows, settings and counts."""
    rows, settings, count = result["rows"], result["settings"], result["images"]["choosing"]
    shade = {radius: SHADES[at % len(SHADES)] for at, radius in enumerate(settings["eps_max"])}
    shape = {n: SHAPES[at % len(SHAPES)] for at, n in enumerate(settings["samples"])}
    with styled():
        figure = new_figure(8.3, 4.8)
        axes = figure.add_axes((0.085, 0.115, 0.61, 0.79))
        _front(axes, [row for row in rows if row["front"]])
        for radius in shade:
            line = sorted((row for row in rows if row["eps_max"] == radius), key=lambda row: row["samples"])
            _line(axes, line, OTHER_LEVEL[settings["against"]], shade[radius], shape, 4, FAINT)
            _line(axes, line, "attacked", shade[radius], shape, 6, {"linewidth": 1.6})
        _interval(axes, next(row for row in rows if row["defense"] == "none"), ORANGE)
        axes.plot(*_place(next(row for row in rows if row["defense"] == "none")), "o", markersize=9, color=ORANGE, zorder=4)
        chosen = next(row for row in rows if row["chosen"])
        if chosen["defense"] != "none":
            _interval(axes, chosen, shade[chosen["eps_max"]])
        axes.plot(*_place(chosen), "o", markersize=17, zorder=5, **_RING)
        _frame(axes, settings)
        legend = _legend(shade, shape, settings["against"])
        axes.legend(handles=legend, loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, labelspacing=0.4)
        headline(figure, f"Prediction averaging: what ε_max and N buy and cost, n = {count}")
        return save(figure, folder, "pareto")


_RING: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.6}


def _place(row: dict, name: str = "attacked") -> tuple[float, float]:
    return 100 * row["clean"], 100 * row[name]


def _front(axes: Axes, front: list[dict]) -> None:
    """The points that no other beats, joined by a broad band behind everything."""
    xs, ys = zip(*sorted(map(_place, front)))
    axes.plot(xs, ys, color=AXIS, linewidth=7, alpha=0.45, solid_capstyle="round", zorder=1)
    axes.plot(xs, ys, "o", color=AXIS, markersize=14, alpha=0.45, markeredgewidth=0, zorder=1)


def _line(axes: Axes, line: list[dict], name: str, shade: str, shape: dict, size: float, look: dict) -> None:
    """The points of one ε_max under one attack, in the order of N."""
    places = [_place(row, name) for row in line]
    axes.plot(*zip(*places), color=shade, zorder=2, **look)
    for row, (x, y) in zip(line, places):
        axes.plot(x, y, shape[row["samples"]], color=shade, markersize=size, alpha=look.get("alpha", 1), zorder=3)


def _interval(axes: Axes, row: dict, shade: str) -> None:
    """The 95 % intervals of a point as a thin cross; they do not widen the axes."""
    x, y = _place(row)
    axes.plot([100 * row["clean_low"], 100 * row["clean_high"]], [y, y], color=shade, linewidth=0.8, alpha=0.7, zorder=1.5)
    axes.plot(
        [x, x], [100 * row["attacked_low"], 100 * row["attacked_high"]], color=shade, linewidth=0.8, alpha=0.7, zorder=1.5
    )


def _frame(axes: Axes, settings: dict) -> None:
    for low, high, put in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        middle, half = (low + high) / 2, max(high - low, NARROWEST) / 2
        put(max(-3, middle - half), min(103, middle + half))
    axes.set_xlabel("clean accuracy (%)")
    axes.set_ylabel(f"accuracy under attack, ε = {fraction_text(settings['eps'])} (%)")


def _legend(shade: dict, shape: dict, against: str) -> list[Line2D]:
    entry = lambda label, **look: Line2D([], [], label=label, **look)  # noqa: E731
    return [
        *(entry(f"ε_max = {fraction_text(radius)}", color=color, linewidth=1.6) for radius, color in shade.items()),
        entry(f"solid: {COUNTED[against]}", color=MUTED, linewidth=1.6),
        entry(f"faint: {OTHER_LEVEL[against]}", color=MUTED, **FAINT),
        *(entry(f"N = {n}", color=MUTED, marker=marker, linestyle="") for n, marker in shape.items()),
        entry("undefended", color=ORANGE, marker="o", markersize=8, linestyle=""),
        entry("chosen", marker="o", markersize=11, linestyle="", **_RING),
        entry("Pareto front", color=AXIS, linewidth=7, alpha=0.45),
        entry("95 % intervals", color=MUTED, linewidth=0.8),
    ]
