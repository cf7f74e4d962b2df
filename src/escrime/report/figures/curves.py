"""What the sweep figures are made of: a curve with its Wilson band, box plots of confidence, the paper's own points."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...budgets import LEVELS
from ...norms import DEFAULT
from ...results.names import defense_name
from ..formatting import eps_axis, in_levels
from ..paper_points import IMAGES, paper_points
from ..sweep import Sweep
from .style import INK, MARKERS, MUTED, PAPER, color

BOX_PERCENTILES = (5, 95)


def draw_curve(
    axes: Axes,
    sweep: Sweep,
    score: str = "correct",
    *,
    label: str = "",
    faint: bool = False,
    shade: str = "",
    line: str = "-",
) -> None:
    """The share of `score` in percent against ε, with its shaded 95 % Wilson band; threat level and n in the label.
    shade: the color, where it is not the defense's own; line: its line style, where not faint."""
    points = sweep.points(score)
    shade = MUTED if faint else shade or color(sweep.defense)
    values, lows, highs = (np.array([getattr(p, name) for p in points]) * 100 for name in ("value", "low", "high"))
    axes.fill_between(sweep.eps, lows, highs, color=shade, alpha=0.12 if faint else 0.22, linewidth=0)
    name = label or defense_name(sweep.defense)
    axes.plot(
        sweep.eps,
        values,
        color=shade,
        marker=MARKERS.get(sweep.threat, "o"),
        markersize=3 if faint else 4.5,
        linewidth=1.1 if faint else 2,
        linestyle="--" if faint else line,
        label=f"{name}, {sweep.threat}, n = {count_text(sweep, score)}",
    )


def draw_envelope(axes: Axes, envelope: Sweep) -> None:
    """The worst case up to each ε, thin and dashed in the color of its curve."""
    axes.plot(
        envelope.eps,
        [100 * point.value for point in envelope.points()],
        color=color(envelope.defense),
        linewidth=1.1,
        linestyle=(0, (4, 2)),
        label="worst case up to ε",
        zorder=2.5,
    )


def count_text(sweep: Sweep, score: str = "correct") -> str:
    """How many images: "450", or "120–450" where some ε have fewer."""
    counts = {point.n for point in sweep.points(score)}
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)}–{max(counts)}"


def draw_paper(axes: Axes, network: str | None, attack: str, defense: str, last_eps: float) -> bool:
    """The paper's own points, faint, where they belong beside a sweep; whether they do."""
    points = paper_points(network, attack, defense, last_eps)
    if not points:
        return False
    axes.plot(
        list(points),
        list(points.values()),
        color=PAPER,
        marker="x",
        markersize=5,
        linewidth=0.8,
        linestyle=":",
        label=f"paper, Wide ResNet-50-2, n = {IMAGES}",
        zorder=1.5,
    )
    return True


def draw_confidence(axes: Axes, sweep: Sweep) -> None:
    """Box plots of the top-class confidence in percent at each ε: quartiles, median, whiskers from 5 % to 95 %."""
    spacing = float(np.diff(sweep.eps).min()) if len(sweep.eps) > 1 else 0.02
    boxes = []
    for row in sweep.confidence:
        row = row[~np.isnan(row)] * 100
        low, q1, median, q3, high = np.percentile(row, [BOX_PERCENTILES[0], 25, 50, 75, BOX_PERCENTILES[1]])
        boxes.append({"med": median, "q1": q1, "q3": q3, "whislo": low, "whishi": high, "fliers": []})
    shade = color(sweep.defense)
    axes.bxp(
        boxes,
        positions=sweep.eps,
        widths=min(spacing * 0.62, 1.73 * _margin(float(sweep.eps[-1]))),  # the outer boxes stay within the frame
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": shade, "alpha": 0.35, "edgecolor": shade, "linewidth": 0.8},
        medianprops={"color": INK, "linewidth": 1.6},
        whiskerprops={"color": shade, "linewidth": 1},
        capprops={"color": shade, "linewidth": 1},
    )


class _Levels(MaxNLocator):
    """Ticks at round numbers of 8-bit levels."""

    def tick_values(self, low: float, high: float) -> Sequence[float]:
        return [level / LEVELS for level in super().tick_values(LEVELS * low, LEVELS * high)]


def _margin(last_eps: float) -> float:
    """The room beside the first and the last ε."""
    return last_eps * 0.03 or 0.01


def frame_axes(
    axes: Axes, epsilons: Iterable[float], *, norm: str = DEFAULT, xlabel: str | None = None, ylabel: str = ""
) -> None:
    """Percent from 0 to 100 against ε from 0 to the last of `epsilons`, with room for the outer markers."""
    epsilons = list(epsilons)
    last_eps = max(epsilons)
    margin = _margin(last_eps)
    if in_levels(epsilons, norm):
        axes.xaxis.set_major_locator(_Levels())
        axes.xaxis.set_major_formatter(lambda eps, _: f"{LEVELS * eps:.3g}/{LEVELS}" if eps else "0")
    axes.set_xlim(-margin, last_eps + margin)
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel(eps_axis(norm) if xlabel is None else xlabel)
    axes.set_ylabel(ylabel)


def legend_above(axes: Axes) -> None:
    """A legend over the axes, where it can hide no curve."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.005), frameon=False, borderaxespad=0.2, borderpad=0, labelspacing=0.25)
