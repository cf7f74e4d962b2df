"""The figures of the page, in the look of the reports, from kept results."""

from pathlib import Path

import numpy as np

from escrime.report.figures.curves import frame_axes, legend_above
from escrime.report.figures.style import COLORS, INK, MARKERS, MUTED, SPARE_COLORS, headline, new_figure, save, styled
from escrime.report.paper_points import IMAGES, POINTS
from escrime.results.names import defense_name
from escrime.results.statistics import wilson

SHADES = COLORS | {"adversarial-training+ppa": SPARE_COLORS[0]}
RECIPES = dict(zip(("fgsm-mixed", "n-fgsm", "pgd", "trades"), (COLORS["adversarial-training"], *SPARE_COLORS)))


def fgsm(kept: dict, model: str, folder: Path, overlay: bool) -> str:
    """% right under FGSM against ε for every defense: transfer as in the paper (dashed), adaptive (solid)."""
    curves = [c for c in kept["curves"] if c["model"] == model and c["attack"] == "FGSM" and c["score"] == "correct"]
    subset = main_subset(curves)
    shown = [curve for curve in curves if curve["subset"] == subset]
    with styled():
        legend = 0.4 + 0.165 * (len(shown) + len(POINTS["FGSM"]) * overlay)  # inches
        height = 4 + legend
        figure = new_figure(7.2, height)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.98, bottom=0.55 / height, top=1 - legend / height)
        headline(figure, f"{model} under FGSM" + (f", {subset} images" if subset else ""))
        for curve in shown:
            eps, share, low, high, n = np.array(curve["points"]).T
            shade, ignored = SHADES.get(curve["defense"], INK), curve["threat"] == "transfer"
            axes.fill_between(eps, 100 * low, 100 * high, color=shade, alpha=0.1, linewidth=0)
            axes.plot(
                eps,
                100 * share,
                color=shade,
                marker=MARKERS.get(curve["threat"], "o"),
                markersize=4,
                linestyle="--" if ignored else "-",
                label=f"{defense_name(curve['defense'])}, {curve['threat']}, n = {int(n.max())}",
            )
        for defense, points in POINTS["FGSM"].items() if overlay else ():
            style = {"color": COLORS[defense], "marker": "x", "markersize": 4, "linewidth": 0.8, "linestyle": ":"}
            axes.plot(list(points), list(points.values()), label=f"the paper, {defense_name(defense)}, n = {IMAGES}", **style)
        frame_axes(axes, [eps for c in shown for eps, *_ in c["points"]], ylabel="% correct")
        legend_above(axes)
        return save(figure, folder, f"fgsm-{model}")[0].name


def main_subset(curves: list[dict]) -> str | None:
    names = list(dict.fromkeys(curve["subset"] for curve in curves))
    return "leak-free" if "leak-free" in names else names[0]


def epochs(found: dict, folder: Path) -> str:
    """Probed FGSM and PGD accuracy after every epoch of each recipe, with 95 % Wilson bands."""
    n = next(int(text.partition("=")[2]) for text in found["settings"]["set"] if text.startswith("probe_images="))
    with styled():
        figure = new_figure(9.2, 4.0)
        left, right = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.07, right=0.98, bottom=0.13, top=0.78, wspace=0.06)
        headline(figure, "More epochs of adversarial training")
        for name, rows in found["histories"].items():
            if rows[0].get("probe_pgd") is None:
                continue
            for axes, column in ((left, "probe_fgsm"), (right, "probe_pgd")):
                at, shares = [row["epoch"] for row in rows], [row[column] for row in rows]
                axes.plot(at, [100 * share for share in shares], color=RECIPES[name], label=name)
                band = 100 * np.array([wilson(share * n, n) for share in shares]).T
                axes.fill_between(at, *band, color=RECIPES[name], alpha=0.15, linewidth=0)
        for axes, what in ((left, "FGSM"), (right, "PGD-10")):
            axes.set_xlabel("epoch")
            axes.set_title(f"% right under {what}, {n} held-back training images", loc="left", fontsize=9, color=MUTED)
            axes.set_ylim(0, 100)
        left.legend(loc="lower left", bbox_to_anchor=(0, 1.08), ncols=5, frameon=False)
        return save(figure, folder, "epochs")[0].name


def lines(title: str, xlabel: str, rows: dict, saved: tuple[Path, str], reference: tuple[float, str] | None = None) -> str:
    """Shares of images that are right, with their bands, one line per name: (x, [[share, low, high], …])."""
    with styled():
        figure = new_figure(7.2, 4.2)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.98, bottom=0.13, top=0.74)
        headline(figure, title)
        for (name, (x, shares)), shade in zip(rows.items(), (INK, *SPARE_COLORS, *COLORS.values()), strict=False):
            share, low, high = 100 * np.array(shares).T
            axes.fill_between(x, low, high, color=shade, alpha=0.1, linewidth=0)
            axes.plot(x, share, color=shade, marker="o", markersize=4, label=name)
        if reference:
            axes.axhline(reference[0], color=MUTED, linewidth=0.8, linestyle=":", label=reference[1])
        axes.set_xlabel(xlabel)
        axes.set_ylabel("% correct, 95 % Wilson interval")
        axes.set_ylim(0, 100)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2, frameon=False)
        return save(figure, *saved)[0].name


def shown_on(found: dict) -> str:
    """The images of a measurement, in the words of a title."""
    return f"{found['n']} leak-free images, {found['size']} px"


def hump(found: dict, folder: Path) -> str:
    """Accuracy along FGSM's ray, by what the step is made with."""
    names = {"true label": "FGSM, true label", "least likely class": "towards the least likely class"}
    rows = {names.get(name, name): (found["eps"], shares) for name, shares in found["right"].items()}
    return lines(f"FGSM's ray, white-box, {shown_on(found)}", "ε", rows, (folder, "hump"))


def averaging(found: dict, folder: Path, paper: float) -> str:
    """Accuracy under FGSM at ε = .025, transferred, against N, one line per ε_max."""
    rows = {}
    for radius in dict.fromkeys(row["eps_max"] for row in found["fgsm"]):
        own = [r for r in found["fgsm"] if (r["eps_max"], r["eps"], r["average"]) == (radius, 0.025, "exponentials")]
        rows[f"ε_max = {radius:g}"] = ([row["samples"] for row in own], [row["right"] for row in own])
    title = f"PPA under FGSM at ε = .025, transfer, {shown_on(found)}"
    return lines(title, "N, copies of each image", rows, (folder, "averaging"), (paper, "the paper"))
