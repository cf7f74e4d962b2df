"""The paper's figures 1–8 and the loss surfaces (9) for every model of a run, each as PNG and SVG, on request as PDF too."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..run import Run
from . import examples, surfaces, sweeps
from .style import Drawn, styled

FIGURES: tuple[Callable[[Run, str, Path], Drawn | None], ...] = (
    examples.perturbation,
    examples.averaging,
    sweeps.fgsm_undefended,
    examples.gallery,
    sweeps.dgsm_undefended,
    *(partial(sweeps.defended, name=name, attack=attack) for name in sweeps.DEFENDED for attack in sweeps.SUFFIXES),
    sweeps.others,
    examples.pattern,
    surfaces.loss_surfaces,
)


def draw_figures(
    run: Run, folder: Path, on_figure: Callable[[Drawn | None], None] | None = None, *, pdf: bool = False
) -> list[Drawn]:
    """Draw every figure of every model into `folder`, in the paper's order; with `pdf` as PDF too.

    A figure whose data the run does not have comes back with `skipped` saying why, and no files; one that a run without
    other defenses does not miss, not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with styled(pdf):
        for model in run.models:
            for draw in FIGURES:
                drawn.append(draw(run, model, folder))
                if on_figure:
                    on_figure(drawn[-1])
    return [figure for figure in drawn if figure is not None]


__all__ = ["FIGURES", "Drawn", "draw_figures"]
