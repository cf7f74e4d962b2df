"""What explains the paper: FGSM's hump, and claims C6 and C7, from the files of `hump` and `averaging`."""

from pathlib import Path

from escrime.report.formatting import eps_text
from escrime.report.markdown import table

from . import figures
from .curves import shown
from .questions import command

SMALL, LARGE = 0.025, 0.1  # the ends of the paper's rise
PAPER_C6 = 86  # % right under PPA at ε = .025
MEASURED = ("hump", "averaging")


def explanations(kept: dict, files: Path) -> list[str]:
    """The blocks; what was not measured says so."""
    sections = {
        "Why accuracy under FGSM rises between ε = .025 and .1": lambda: hump(kept["hump"], files),
        "What prediction averaging does, and where C6 and C7 come from": lambda: averaging(kept["averaging"], files),
    }
    blocks = ["## What explains the paper"]
    for title, make in sections.items():
        blocks += [f"### {title}", *(make() or ["Not measured yet."])]
    return blocks


def hump(found: dict | None, files: Path) -> list[str]:
    if not found:
        return []
    place = {eps: at for at, eps in enumerate(found["eps"])}
    small, large = place[SMALL], place[LARGE]
    right = {name: [100 * row[0] for row in rows] for name, rows in found["right"].items()}
    (fgsm, low_s, high_s), (_, low_l, high_l) = (
        [100 * part for part in found["right"]["true label"][place[eps]]] for eps in (SMALL, LARGE)
    )
    after = right["true label"][large]
    rises = "rises" if low_l > high_s else "falls" if high_l < low_s else "does not change beyond its interval"
    back = [100 * part for part in found["wrong before, right again"][large]]
    alone = [100 * row[0] for row in found["pattern alone called by its label"][1:]]
    apart = max(abs(a - b) for a, b in zip(right["true label"], right["not clipped"], strict=True))
    leaking = right["least likely class"]
    text = (
        f"On {found['n']} leak-free images at {found['size']} px FGSM leaves {fgsm:.1f} % [{low_s:.1f}, {high_s:.1f}] at "
        f"ε = .025 and {after:.1f} % [{low_l:.1f}, {high_l:.1f}] at .1: accuracy {rises}. *Overshoot*: {back[0]:.1f} % "
        f"[{back[1]:.1f}, {back[2]:.1f}] of the images are wrong at a smaller ε on the same ray and right again at .1; the "
        f"worst ε up to .1 leaves {right['worst up to ε'][large]:.1f} %. *Label leaking*: a step made without the label "
        f"(towards the least likely class) leaves {leaking[small]:.1f} % at .025 and {leaking[large]:.1f} % at .1, and the "
        f"pattern alone, on gray, is called by its label in {min(alone):.1f}–{max(alone):.1f} % of the images (chance: 10 %). "
        f"*Saturation*: without clipping to black and white the curve differs by {apart:.1f} points at most."
    )
    picture = figures.hump(found, files)
    drawn = f"![Percent correct against ε along FGSM's ray, one line for each way to make the step](paper/{picture})"
    return [command(found["command"]), text, drawn]


def averaging(found: dict | None, files: Path) -> list[str]:
    if not found:
        return []
    small = [row for row in found["fgsm"] if row["eps"] == SMALL and row["average"] == "exponentials"]
    best = max(small, key=lambda row: row["right"][0])
    plain = found["undefended"][str(SMALL)]
    clean = next(r for r in found["fgsm"] if r["eps"] == 0 and all(r[k] == best[k] for k in ("eps_max", "samples", "average")))
    reached = "the interval reaches" if best["right"][2] >= PAPER_C6 / 100 else "the interval ends below"
    text = (
        f"C6, on {found['n']} leak-free images at {found['size']} px: FGSM at ε = .025 made on the undefended network "
        f"leaves {shown(*plain)}; shown to PPA, the best of {len(small)} settings, ε_max = {eps_text(best['eps_max'])} with "
        f"N = {best['samples']}, leaves {shown(*best['right'])} ({reached} the paper's {PAPER_C6} %), and it is right on "
        f"{shown(*clean['right'])} of the clean images."
    )
    heads = ["ε_max", "N", "clean", "FGSM .025", "FGSM .1", "FGSM .025, mean of probabilities"]
    rows = []
    for radius in dict.fromkeys(row["eps_max"] for row in small):
        for n in dict.fromkeys(row["samples"] for row in small):
            of = {(r["eps"], r["average"]): r["right"] for r in found["fgsm"] if (r["eps_max"], r["samples"]) == (radius, n)}
            cells = [of[0.0, "exponentials"], of[SMALL, "exponentials"], of[LARGE, "exponentials"], of[SMALL, "probabilities"]]
            rows.append([eps_text(radius), n, *(shown(*cell) for cell in cells)])
    picture = figures.averaging(found, files, PAPER_C6)
    drawn = f"![Percent correct under transferred FGSM against N, one line per ε_max](paper/{picture})"
    return [command(found["command"]), text, drawn, table(heads, rows), *directed(found)]


def directed(found: dict) -> list[str]:
    """C7: how much its unnamed settings move."""
    heads = ["DGSM's steps", "threat", "ε_max", "N", "moved to the target", "chance that 50 images show at most one"]
    rows = [
        [
            row["steps"],
            row["threat"],
            eps_text(row["eps_max"]) if "eps_max" in row else "–",
            row.get("samples", "–"),
            shown(*row["moved"]),
            f"{100 * row['at most 1 of 50']:.0f} %",
        ]
        for row in found["dgsm"]
    ]
    held = [row for row in found["dgsm"] if row["threat"] == "transfer" and row["moved"][0] <= 0.02]
    settings = sum(row["threat"] == "transfer" for row in found["dgsm"])
    text = (
        f"C7, on the {found['dgsm n']} of these images that are no springers, DGSM at ε = .015: under transfer at most 2 % "
        f"move to the target in {len(held)} of {settings} settings of (steps, ε_max, N)."
    )
    return [text, table(heads, rows)]
