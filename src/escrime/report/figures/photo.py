"""One photo before and after: original, what was added, and the adversarial image, with what the model predicts for each."""

from pathlib import Path

import numpy as np

from ..formatting import percent
from .examples import panels, show
from .style import MUTED, RIGHT, WRONG, styled


def draw_photo(
    path: Path, original: np.ndarray, adversarial: np.ndarray, before: tuple[str, float], after: tuple[str, float], eps: str
) -> None:
    """Write a PNG with three panels. Images float (3, H, W) in [0, 1]; before, after: the class named and its confidence."""
    delta = adversarial - original
    factor = max(1, round(0.5 / max(float(np.abs(delta).max()), 1e-3)))
    with styled():
        shape = original.shape[1] / original.shape[2]
        figure, grid = panels(1, 3, 9.0, "What was changed, and what the model now sees", shape=shape)
        titles = ("original", f"the change × {factor}", f"adversarial, ε = {eps}")
        for axes, image, title in zip(grid[0], (original, 0.5 + factor * delta, adversarial), titles, strict=True):
            show(axes, image, title)
        same = before[0] == after[0]
        for axes, (name, confidence), color in ((grid[0][0], before, RIGHT), (grid[0][2], after, RIGHT if same else WRONG)):
            axes.set_xlabel(f"{_short(name)}, {percent(confidence)}", color=color, fontsize=9, fontweight="bold", labelpad=4)
        grid[0][1].set_xlabel("around mid-gray", color=MUTED, fontsize=9, labelpad=4)
        figure.savefig(path, dpi=120, format="png", metadata={"Software": "escrime"})


def _short(name: str, width: int = 30) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"
