"""Figures 1, 2, 4 and 8: images, what was done to them, and what the network predicts."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import listing
from ...norms import DEFAULT, norm
from ...results.threats import WHITE_BOX
from ..formatting import eps_text, percent, slug
from ..pictures import SHARP_BELOW
from ..run import Example, Run
from .style import INK, MUTED, RIGHT, TRACK, WRONG, Drawn, headline, new_figure, save

ROWS, GALLERY = 3, 20


def as_pixels(image: np.ndarray) -> np.ndarray:
    """A float (3, H, W) image in [0, 1] as uint8 (H, W, 3)."""
    return (np.clip(image, 0, 1).transpose(1, 2, 0) * 255).round().astype(np.uint8)


def show(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """Draw a float (3, H, W) image in [0, 1] without ticks; small ones pixel by pixel."""
    pixels = as_pixels(image)
    axes.imshow(pixels, interpolation="none" if max(pixels.shape) < SHARP_BELOW else "antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_title(title, pad=4, fontsize=9)


def label_prediction(axes: Axes, run: Run, prediction: dict, truth: int) -> None:
    """Write predicted class and confidence under an image, in the color of right or wrong."""
    right = prediction["prediction"] == truth
    axes.set_xlabel(
        prediction_text(run, prediction), color=RIGHT if right else WRONG, fontsize=9, fontweight="bold", labelpad=4
    )


def prediction_text(run: Run, prediction: dict, width: int = 18) -> str:
    """Class and confidence, "church, 97.0%", over two lines when longer than `width` characters."""
    name, confidence = run.class_name(prediction["prediction"]), percent(prediction["confidence"])
    return f"{name}, {confidence}" if len(name) + len(confidence) + 2 <= width else f"{name},\n{confidence}"


def scaled(example: Example) -> tuple[np.ndarray, float]:
    """The perturbation around mid-gray, stretched until its largest entry fills the color range, and the factor."""
    delta = example.images["adversarial"].astype(np.float64) - example.images["original"]
    largest = float(np.abs(delta).max())
    factor = 0.5 / largest if largest > 0 else 1.0
    factor = round(factor, 1) if factor < 10 else float(round(factor))
    return 0.5 + factor * delta, factor


def panels(
    rows: int, columns: int, width: float, title: str, right: float = 0.1, shape: float = 1.0
) -> tuple[Figure, np.ndarray]:
    """A grid of panels under a title, each with a line above and up to two lines below; lengths in inches. shape: the height of
    a panel over its width."""
    gap, above, below = 0.14, 0.26, 0.44
    side = (width - 0.1 - right - gap * (columns - 1)) / columns
    tall = side * shape
    height = 0.32 + rows * (above + tall + below)
    figure = new_figure(width, height)
    headline(figure, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.1 / width,
        right=1 - right / width,
        bottom=below / height,
        top=1 - (0.32 + above) / height,
        wspace=gap / side,
        hspace=(above + below) / tall,
    )
    return figure, grid


def attack_words(example: Example, name: str = DEFAULT) -> str:
    """As in: FGSM, ε = 4/255, white-box. name: of the norm, which ends a label where there are several, and stands with ε."""
    geometry, level = norm(name), example.entry.get("threat", WHITE_BOX)
    words = [example.attack.removesuffix(geometry.suffix), geometry.said(example.eps), level if geometry.attacker else ""]
    return ", ".join(filter(None, words))


def usable(run: Run, model: str, figure: int, *needed: str) -> list[Example]:
    return [e for e in run.examples(model, figure) if all(name in e.images for name in needed)]


def perturbation(run: Run, model: str, folder: Path) -> Drawn:
    """Figure 1: original, perturbation scaled up, adversarial, with predicted class and confidence."""
    drawn = Drawn("fig1", model, "What an attack changes, and what the network then sees")
    examples = usable(run, model, 1, "original", "adversarial")[:ROWS]
    if not examples:
        drawn.skipped = "no adversarial example is recorded for it"
        return drawn
    names = [run.class_name(example.label) for example in examples]
    width = 5.4 if max(map(len, names)) < 12 else 6.4  # the true class has to fit over its image
    figure, grid = panels(len(examples), 3, width, f"{model}: original, perturbation, adversarial")
    seen = []
    for axes, example in zip(grid, examples, strict=True):
        delta, factor = scaled(example)
        show(axes[0], example.images["original"], f"original: {run.class_name(example.label)}")
        show(axes[1], delta, f"perturbation × {factor:g}")
        show(axes[2], example.images["adversarial"], f"{example.attack}, ε = {eps_text(example.eps)}")
        label_prediction(axes[0], run, example.original, example.label)
        label_prediction(axes[2], run, example.adversarial, example.label)
        alone = example.entry.get("perturbation")
        text = f"alone: {run.class_name(alone['prediction'])}, {percent(alone['confidence'])}" if alone else "around mid-gray"
        axes[1].set_xlabel(text, color=MUTED, fontsize=9, labelpad=4)
        seen.append(change_words(run, example))
    drawn.png, drawn.svg = save(figure, folder, f"fig1-{slug(model)}")
    drawn.caption = (
        "Left the original under its true class, in the middle the perturbation around mid-gray, multiplied by the "
        f"stated factor, right their sum ({listing(list(dict.fromkeys(attack_words(e) for e in examples)))}). "
        f"{'; '.join(seen)}. "
        f"In the records: {listing([e.image for e in examples])}."
    )
    drawn.alt = f"Rows of original, perturbation and adversarial image: {'; '.join(seen)}."
    return drawn


def change_words(run: Run, example: Example) -> str:
    """What the network predicts before and after: “3” at 99.1% becomes “8” at 97.0%."""
    before, after = example.original, example.adversarial
    return (
        f"“{run.class_name(before['prediction'])}” at {percent(before['confidence'])} becomes "
        f"“{run.class_name(after['prediction'])}” at {percent(after['confidence'])}"
    )


def averaging(run: Run, model: str, folder: Path) -> Drawn:
    """Figure 2: the same for PPA: original, adversarial, one of the averaged copies, and PPA's verdict."""
    drawn = Drawn("fig2", model, "What averaging over noisy copies makes of it")
    examples = [e for e in usable(run, model, 2, "original", "adversarial", "copy") if "verdict" in e.entry][:ROWS]
    if not examples:
        drawn.skipped = "no example of PPA is recorded for it"
        return drawn
    figure, grid = panels(len(examples), 4, 8.4, f"{model}: the same image for the network and for PPA")
    seen = []
    for axes, example in zip(grid, examples, strict=True):
        show(axes[0], example.images["original"], f"original: {run.class_name(example.label)}")
        show(axes[1], example.images["adversarial"], f"{example.attack}, ε = {eps_text(example.eps)}")
        show(axes[2], example.images["copy"], "one averaged copy")
        for panel, name in zip(axes[:3], ("original", "adversarial", "copy"), strict=True):
            if name in example.entry:
                label_prediction(panel, run, example.entry[name], example.label)
        verdict_panel(axes[3], run, example)
        verdict = example.verdict
        name, confidence = run.class_name(verdict["prediction"]), percent(verdict["confidence"])
        seen.append(f"{change_words(run, example)}; PPA predicts “{name}” at {confidence}")
    drawn.png, drawn.svg = save(figure, folder, f"fig2-{slug(model)}")
    threats = listing(list(dict.fromkeys(attack_words(e) for e in examples)))
    drawn.caption = f"PPA against {threats}. {'. '.join(seen)}. In the records: {listing([e.image for e in examples])}."
    drawn.alt = f"Rows of original, adversarial image, one noisy copy and PPA's verdict: {'. '.join(seen)}."
    drawn.wide = True
    return drawn


def verdict_panel(axes: Axes, run: Run, example: Example) -> None:
    """Three bars: the network on the original, on the adversarial image, and PPA on the adversarial image."""
    rows = [("network, original", "original"), ("network, adversarial", "adversarial"), ("PPA, adversarial", "verdict")]
    axes.set_title("PPA's verdict", pad=4, fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_ylim(2.5, -0.4)
    axes.axis("off")
    for position, (label, key) in enumerate(rows):
        prediction = example.entry[key]
        right = prediction["prediction"] == example.label
        shade = RIGHT if right else WRONG
        axes.barh(position, 1, height=0.16, color=TRACK)
        axes.barh(position, prediction["confidence"], height=0.16, color=shade)
        axes.text(0, position - 0.13, label, fontsize=8, color=MUTED, va="bottom")
        axes.text(
            0, position + 0.13, prediction_text(run, prediction, 99), fontsize=9, color=shade, fontweight="bold", va="top"
        )


def gallery(run: Run, model: str, folder: Path) -> Drawn:
    """Figure 4: FGSM misclassifications with predicted class and confidence."""
    drawn = Drawn("fig4", model, "Misclassifications under FGSM")
    examples = usable(run, model, 4, "adversarial")[:GALLERY]
    if not examples:
        drawn.skipped = "no misclassification under FGSM is recorded for it"
        return drawn
    columns = 3 if len(examples) < 4 else min((5, 4), key=lambda columns: -len(examples) % columns)  # fewest gaps
    figure, grid = panels(-(-len(examples) // columns), columns, 1.68 * columns, f"{model}: misclassified under FGSM")
    for axes, example in zip(grid.flat, examples, strict=False):
        show(axes, example.images["adversarial"], f"truth: {run.class_name(example.label)}")
        label_prediction(axes, run, example.adversarial, example.label)
    for axes in grid.flat[len(examples) :]:
        axes.axis("off")
    drawn.png, drawn.svg = save(figure, folder, f"fig4-{slug(model)}")
    settings = listing(list(dict.fromkeys(attack_words(e) for e in examples)))
    mean = np.mean([e.adversarial["confidence"] for e in examples])
    drawn.caption = (
        f"{len(examples)} images that {model} gets wrong ({settings}): the true class above, the predicted class and "
        f"its confidence below. The mean confidence of these mistakes is {percent(mean)}."
    )
    names = [f"{run.class_name(e.label)} called {run.class_name(e.adversarial['prediction'])}" for e in examples]
    drawn.alt = f"Grid of adversarial images: {listing(names)}."
    drawn.wide = columns > 4
    return drawn


def pattern(run: Run, model: str, folder: Path) -> Drawn:
    """Figure 8: the perturbation of one DGSM example, in color around mid-gray and as its size per pixel."""
    drawn = Drawn("fig8", model, "The pattern of a DGSM perturbation")
    examples = usable(run, model, 8, "original", "adversarial")[:1]
    if not examples:
        drawn.skipped = "no DGSM example is recorded for it"
        return drawn
    example = examples[0]
    delta, factor = scaled(example)
    strength = np.abs(example.images["adversarial"].astype(float) - example.images["original"]).mean(axis=0)
    figure, grid = panels(1, 4, 8.4, f"{model}: the perturbation of DGSM", right=0.6)
    axes = grid[0]
    show(axes[0], example.images["original"], f"original: {run.class_name(example.label)}")
    show(axes[1], example.images["adversarial"], f"{example.attack}, ε = {eps_text(example.eps)}")
    show(axes[2], delta, f"perturbation × {factor:g}")
    label_prediction(axes[0], run, example.original, example.label)
    label_prediction(axes[1], run, example.adversarial, example.label)
    axes[2].set_xlabel("around mid-gray", color=MUTED, fontsize=9, labelpad=4)
    size = axes[3].imshow(
        strength, cmap="magma", vmin=0, interpolation="none" if len(strength) < SHARP_BELOW else "antialiased"
    )
    axes[3].set_xticks([])
    axes[3].set_yticks([])
    axes[3].set_title("size per pixel", pad=4, fontsize=9)
    axes[3].set_xlabel("mean of |δ| over colors", color=MUTED, fontsize=9, labelpad=4)
    box = axes[3].get_position()
    bar = figure.colorbar(size, cax=figure.add_axes((box.x1 + 0.008, box.y0, 0.012, box.height)))
    bar.ax.tick_params(labelsize=8, colors=INK)
    drawn.png, drawn.svg = save(figure, folder, f"fig8-{slug(model)}")
    drawn.caption = (
        f"The perturbation of one image ({example.image}) under {attack_words(example)}, towards "
        f"“{run.class_name(example.target)}”: {change_words(run, example)}. It is shown around mid-gray times "
        f"{factor:g}, and as the mean of |δ| over the three colors."
    )
    drawn.alt = f"Original, adversarial image and perturbation pattern: {change_words(run, example)}."
    drawn.wide = True
    return drawn
