"""The trade-off of a tuned defense: clean accuracy against accuracy under attack, one line per ε_max."""

from pathlib import Path

from matplotlib.axes import Axes

from ..words import fraction_text
from .style import AXIS, BLUE, GREEN, INK, MUTED, ORANGE, SPARE_COLORS, headline, new_figure, save, styled

SHADES = (BLUE, GREEN, *SPARE_COLORS)
SHAPES = "osD^vPX*"
ASIDE = {"adaptive": "transfer", "transfer": "adaptive"}


def draw_pareto(result: dict, folder: Path) -> tuple[Path, Path]:
    """Write pareto.png and pareto.svg from what tune.json holds: its rows, settings and counts."""
    rows, settings, count = result["rows"], result["settings"], result["images"]["choosing"]
    undefended = next(row for row in rows if row["defense"] == "none")
    with styled():
        figure = new_figure(7.6, 4.8)
        axes = figure.add_axes((0.09, 0.115, 0.615, 0.79))
        _front(axes, [row for row in rows if row["front"]])
        for at, radius in enumerate(settings["eps_max"]):
            line = sorted((row for row in rows if row["eps_max"] == radius), key=lambda row: row["samples"])
            _line(axes, line, radius, SHADES[at % len(SHADES)], settings)
        axes.plot(*_place(undefended, "attacked"), marker="o", markersize=9, color=ORANGE, linestyle="", label="undefended")
        chosen = next(row for row in rows if row["chosen"])
        ring = {"marker": "o", "markersize": 17, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.6}
        axes.plot(*_place(chosen, "attacked"), linestyle="", label="chosen", zorder=4, **ring)
        for n, shape in zip(settings["samples"], _shapes(settings["samples"])):
            axes.plot([], [], marker=shape, color=MUTED, linestyle="", label=f"N = {n}")
        axes.margins(0.08)
        axes.set_xlabel("clean accuracy (%)")
        axes.set_ylabel(f"accuracy under attack, ε = {fraction_text(settings['eps'])} (%)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.01), frameon=False, labelspacing=0.35)
        headline(figure, f"Prediction averaging: what ε_max and N buy and cost, n = {count}")
        return save(figure, folder, "pareto")


def _place(row: dict, name: str) -> tuple[float, float]:
    return 100 * row["clean"], 100 * row[name]


def _front(axes: Axes, front: list[dict]) -> None:
    """The points that no other beats, joined by a broad band behind everything."""
    places = sorted(_place(row, "attacked") for row in front)
    xs, ys = zip(*places)
    axes.plot(xs, ys, color=AXIS, linewidth=7, alpha=0.45, solid_capstyle="round", label="Pareto front", zorder=1)
    axes.plot(xs, ys, "o", color=AXIS, markersize=14, alpha=0.45, markeredgewidth=0, zorder=1)


def _line(axes: Axes, line: list[dict], radius: float, shade: str, settings: dict) -> None:
    """The attack that counts in full, the other one faint."""
    against, aside = settings["against"], ASIDE[settings["against"]]
    shapes = _shapes([row["samples"] for row in line])
    for name, look in ((aside, {"linestyle": ":", "alpha": 0.4, "linewidth": 1}), ("attacked", {"linewidth": 1.6})):
        places = [_place(row, name) for row in line]
        label = f"ε_max = {fraction_text(radius)}" + ("" if name == "attacked" else f", {aside}")
        shown = against if name == "attacked" else aside
        axes.plot(*zip(*places), color=shade, zorder=2 if shown == aside else 3, label=label, **look)
        size = 4 if name == aside else 6
        for (x, y), shape in zip(places, shapes):
            axes.plot(x, y, marker=shape, color=shade, markersize=size, alpha=look.get("alpha", 1), zorder=3)


def _shapes(samples: list[int]) -> list[str]:
    return [SHAPES[at % len(SHAPES)] for at in range(len(samples))]
