"""The look of every figure: colors that survive color blindness and a dark page, saved as PNG (150 dpi) and SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...results.threats import ADAPTIVE, BLACK_BOX, TRANSFER, WHITE_BOX

INK, MUTED, PAPER, AXIS, GRID, TRACK = "#222222", "#6b6b6b", "#999999", "#aaaaaa", "#cccccc", "#dddddd"
# Okabe and Ito's palette: told apart by every common form of color vision.
ORANGE, BLUE, GREEN = "#d55e00", "#0072b2", "#009e73"
COLORS = {"none": ORANGE, "ppa": BLUE, "adversarial-training": GREEN}  # whom the still figures show
SPARE_COLORS = ("#cc79a7", "#e69f00", "#56b4e9")  # the same palette, for whatever else is compared
RIGHT, WRONG = BLUE, ORANGE
# What each color is called on the page, where it follows the light or dark theme.
THEME = {
    INK: "ink",
    MUTED: "muted",
    PAPER: "faint",
    AXIS: "axis",
    GRID: "grid",
    TRACK: "track",
    ORANGE: "orange",
    BLUE: "blue",
    GREEN: "green",
    **dict(zip(SPARE_COLORS, ("purple", "amber", "deep"))),
}
# The title's id in the SVG, and the height in points it takes: the page has its own titles and leaves it out.
HEADLINE, HEADLINE_POINTS = "headline", 23
MARKERS = {WHITE_BOX: "o", BLACK_BOX: "X", TRANSFER: "s", ADAPTIVE: "D"}

# "seaborn-v0_8-whitegrid" ships with matplotlib, so seaborn itself (a second of imports) is not needed for its look.
STYLE: list[str | dict[str, Any]] = [
    "seaborn-v0_8-whitegrid",
    {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.labelsize": 10,
        "axes.titlesize": 10,
        "legend.fontsize": 9,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "axes.edgecolor": AXIS,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "escrime",
        "text.parse_math": False,  # a class or model may be named "$5"
        "image.interpolation": "none",
        "savefig.facecolor": "white",
    },
]


@dataclass
class Drawn:
    """A figure as the page needs it. `skipped` says why it was not drawn; then there are no paths."""

    name: str  # "fig3", "fig6-dgsm"
    model: str
    title: str
    caption: str = ""
    alt: str = ""
    png: Path | None = None
    svg: Path | None = None
    skipped: str = ""
    wide: bool = field(default=False)


_PDF = ContextVar("pdf", default=False)


@contextmanager
def styled(pdf: bool = False) -> Iterator[None]:
    """Draw inside this: matplotlib's settings outside stay as they are. pdf: `save` writes a PDF too."""
    token = _PDF.set(pdf)
    try:
        with matplotlib.style.context(STYLE):
            yield
    finally:
        _PDF.reset(token)


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` × `height` inches that no window and no pyplot knows of."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write stem.png (150 dpi) and stem.svg, and stem.pdf where `styled` was asked for it.

    The same records give the same bytes: no date inside.
    """
    png, svg = folder / f"{stem}.png", folder / f"{stem}.svg"
    figure.savefig(png, dpi=150, metadata={"Software": "escrime"})
    for axes in figure.axes:
        for image in axes.images:
            image.set_interpolation("none")  # the SVG keeps the image's own pixels, and the viewer scales them
    figure.savefig(svg, dpi=150, metadata={"Date": None, "Creator": "escrime"})
    if _PDF.get():
        figure.savefig(folder / f"{stem}.pdf", dpi=150, metadata={"CreationDate": None, "Creator": "escrime"})
    return png, svg


def color(defense: str) -> str:
    return COLORS.get(defense, INK)


def headline(figure: Figure, text: str) -> None:
    """A bold title in the upper left corner, in the place the figure keeps free for it."""
    place = (0.015, 1 - 0.1 / figure.get_figheight())
    figure.text(*place, text, va="top", fontsize=11, fontweight="bold", gid=HEADLINE)
