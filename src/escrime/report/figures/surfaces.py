"""Figure 9, not in the paper but in its authors' repository: the loss around images and around weights, network by network."""

from pathlib import Path

import numpy as np
from mpl_toolkits.mplot3d import Axes3D  # noqa: F401  (registers the projection, since no pyplot does)

from ...errors import listing
from ...results.names import defense_name
from ..formatting import eps_text, slug
from ..run import Run
from .style import MUTED, Drawn, headline, new_figure, save

MOST = 4  # networks side by side
KINDS = {"images": ("FGSM's direction, ε", "random, ε"), "weights": ("gradient", "random")}


def loss_surfaces(run: Run, model: str, folder: Path) -> Drawn:
    """One column per network, the loss around images above that around weights; the height is shared within a row."""
    drawn = Drawn("fig9", model, f"The loss around {model}", wide=True)
    found = run.analysis(model).get("C12") or {}
    surfaces = found.get("surfaces")
    if not surfaces:
        drawn.skipped = "the run did not measure the loss around its networks"
        return drawn
    names = list(surfaces["images"])[:MOST]
    axis = np.array(surfaces["axis"])
    columns, rows = np.meshgrid(axis, axis)
    figure = new_figure(max(6.4, 3.1 * len(names)), 6.4)
    figure.subplots_adjust(left=0.01, right=0.95, bottom=0.05, top=0.87, wspace=0.06, hspace=0.12)
    headline(figure, drawn.title)
    for row, (kind, (along, random)) in enumerate(KINDS.items()):
        top = max(np.max(surfaces[kind][name]) for name in names)
        for column, name in enumerate(names):
            axes = figure.add_subplot(2, len(names), row * len(names) + column + 1, projection="3d")
            heights = np.array(surfaces[kind][name])
            axes.plot_surface(rows, columns, heights, cmap="cividis", vmin=0, vmax=top, rcount=40, ccount=40, linewidth=0)
            axes.set_zlim(0, top)
            axes.set_xlabel(along, fontsize=8, labelpad=-4)
            axes.set_ylabel(random, fontsize=8, labelpad=-4)
            axes.tick_params(labelsize=7, pad=-2)
            axes.tick_params(axis="z", labelsize=7, pad=0)
            axes.view_init(elev=24, azim=-128)
            if not row:
                axes.set_title(title(name), fontsize=10, pad=0)
        figure.text(0.012, 0.905 - 0.445 * row, f"loss around {kind}", color=MUTED, fontsize=9)
    drawn.png, drawn.svg = save(figure, folder, f"fig9-{slug(model)}")
    scale = f"ε = {eps_text(found['eps'])}; along the gradient 1 is {100 * found['ascent']:.0f} %"
    drawn.caption = (
        f"Mean loss of {surfaces['n']} images when the images (above) or the weights (below) move, in the direction that "
        f"fools and in a random one ({scale}, at random {100 * found['random']:.0f} %, of each filter's norm). "
        f"{numbers(found)}"
    )
    rises = [f"{title(name)} rises to {np.max(surfaces['images'][name]):.2g}" for name in names]
    drawn.alt = f"Loss surfaces around images, of one height per row: {listing(rises)}."
    return drawn


def title(defense: str) -> str:
    return "trained clean" if defense == "none" else defense_name(defense)


def numbers(found: dict) -> str:
    """The mean rises under FGSM and along the gradient of the weights, with their intervals."""
    parts = []
    for measure, what in (("loss_rise", "Under FGSM the loss rises by"), ("weight_ascent", "along the weights' gradient by")):
        means = [
            f"{row['mean']:.3g} [{row['low']:.3g}, {row['high']:.3g}] ({title(name)})"
            for name, row in found["measures"][measure].items()
        ]
        parts.append(f"{what} {listing(means)}")
    return f"{'; '.join(parts)}; n = {found['n']}, 95 % bootstrap intervals."
