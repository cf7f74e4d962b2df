"""docs/results/paper.md: what ran, the claims, what each defense is worth, the open questions; all from kept files."""

import json
from pathlib import Path

from escrime.commands.run.schema import ADVERSARIAL
from escrime.files import write_whole
from escrime.report.formatting import eps_text
from escrime.report.markdown import inline, table
from escrime.report.paper_points import POINTS
from escrime.results.names import defense_name
from escrime.terminal import duration

from . import figures, questions
from .questions import DIGITS, NETWORKS

LIKE_THE_PAPER = (NETWORKS["wide_resnet50_2"], NETWORKS["mobilenet_v2"])  # beside the paper's numbers for the first
QUESTIONS = ("digits", "epochs", *questions.TUNED)


def write_page(folder: Path) -> Path:
    """Draw the figures into folder/paper and write folder/paper.md; what was not kept is named as missing."""
    files = folder / "paper"
    kept = {name: read(files / f"{name}.json") for name in NETWORKS}
    extra = {name: read(files / f"{name}.json") for name in QUESTIONS}
    present = {name: found for name, found in kept.items() if found}
    blocks = [HEAD, *ran(present), *claims(present), *worth(present, extra["digits"]), *curves(present, files)]
    blocks += questions.answers(present, extra, files)
    path = folder / "paper.md"
    write_whole(path, "\n\n".join(blocks) + "\n")
    return path


def read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


HEAD = """# What the paper found, what is true, and what it left open

Donoghue, Lines, Pereira (2020), *Generating and defending against adversarial examples in vision-optimized neural
architectures*, repeated by escrime alone on real Imagenette. `python -m benchmarks.paper` makes this page and its figures from
the JSON files in `docs/results/paper/`. Accuracies carry 95 % Wilson intervals; *transfer* is the paper's way (examples made
without the defense), *adaptive* the attacker who knows it. The standard validation set is 96.6 % ImageNet training images: a
network with ImageNet weights has seen them, and the *leak-free* images it has not."""


def ran(kept: dict) -> list[str]:
    """What ran where, how long, by which command."""
    heads = ["network", "weights", "images", "trained for", "machine", "took", "command"]
    rows = []
    for name, found in kept.items():
        about, data = found["about"], found["about"]["data"]
        hardware = about["hardware"]
        machine = hardware.get("gpu") or f"{hardware['cores']} CPU cores"
        subsets = ", ".join(f"{count} {subset}" for subset, count in data["subsets"].items())
        seconds = sum(stage["seconds"] for stage in about["stages"])
        rows.append(
            [
                NETWORKS[name],
                "ImageNet, fine-tuned" if about["pretrained"] else "from scratch",
                f"{data['size']} px; {subsets}",
                f"{about['training']['epochs']} epochs on {data['train']}; hardened {hardened(about)}",
                f"{machine}, torch {about['versions']['torch']}",
                duration(seconds),
                f"`{about['command']}`",
            ]
        )
    return ["## What ran", table(heads, rows).replace("\\`", "`")]


def hardened(about: dict) -> str:
    training = about["defenses"]["adversarial-training"]
    goal, epochs = training["objective"], training["training"].get("epochs", about["training"]["epochs"])
    return f"{epochs} more by {goal['name']} at ε = {eps_text(goal['eps'])}"


def claims(kept: dict) -> list[str]:
    """Claim by claim, network by network, on each way to count."""
    rows, order = [], {}
    for name, found in kept.items():
        for claim in found["claims"]:
            order.setdefault(claim["id"], []).append((name, claim))
    for identifier in sorted(order, key=lambda text: int(text[1:])):
        for name, claim in order[identifier]:
            where = NETWORKS[name] + (f", {claim['subset']}" if claim["subset"] else "")
            where += " (stands in)" if claim["stand_in"] else ""
            verdict = "could not be tested here" if claim["verdict"] == "not tested" else claim["verdict"]
            rows.append([identifier, claim["claim"], claim["paper"], where, claim["measured"], f"{verdict}: {claim['why']}"])
    counted = {}
    for found in kept.values():
        for claim in found["claims"]:
            counted.setdefault(claim["verdict"], []).append(claim)
    said = ", ".join(f"{len(found)} {verdict}" for verdict, found in sorted(counted.items()))
    text = (
        f"{len(rows)} verdicts: {said}. Each follows a rule stated in the code (`escrime/report/claims`), from the "
        "interval and not from the point. MobileNetV2 is none of the paper's networks and stands in for the Wide ResNet."
    )
    heads = ["", "the paper says", "its value", "network, images", "measured [95 % interval]", "verdict and why"]
    return ["## The paper's claims", text, table(heads, rows)]


def worth(kept: dict, digits: dict | None) -> list[str]:
    """One table that says what each defense is worth under the strongest attack, beside the paper's numbers."""
    heads = ["network, images", "defense", "clean", "FGSM, transfer", "FGSM, adaptive", "strongest attack", "the paper's, FGSM"]
    rows, steps = [], {}
    named = {NETWORKS[name]: found for name, found in kept.items()} | ({DIGITS: digits} if digits else {})
    for name, found in named.items():
        eps = found["eps"]
        for subset in dict.fromkeys(curve["subset"] for curve in found["curves"]):
            own = [curve for curve in found["curves"] if curve["subset"] == subset and curve["score"] == "correct"]
            for defense in dict.fromkeys(curve["defense"] for curve in own):
                at = {(c["threat"], c["attack"]): c for c in own if c["defense"] == defense}
                known = "white-box" if defense == "none" else "adaptive"
                sweep = at.get((known, "FGSM"))
                paper = POINTS["FGSM"].get(defense, {}).get(eps) if name in LIKE_THE_PAPER else None
                verdict = next(v for v in found["verdicts"] if (v["subset"] or None, v["defense"]) == (subset, defense))
                left = {"points": [[eps, *(verdict[name] for name in ("accuracy", "low", "high", "n"))]]}
                hard = defense in questions.tried_hard(found)
                if defense == ADVERSARIAL and hard:  # the last subset: leak-free, where there are two
                    steps[name] = (point_of(sweep, eps)[1], verdict["accuracy"])
                rows.append(
                    [
                        name + (f", {subset}" if subset else f" (ε* = {eps_text(eps)})"),
                        defense_name(defense),
                        cell(sweep, 0),
                        cell(at.get(("transfer", "FGSM")), eps),
                        cell(sweep, eps),
                        cell(left, eps) if hard else "not run",
                        f"{paper} %" if paper is not None else "–",
                    ]
                )
    text = (
        "% of images right at ε* = 0.025, or the ε* named [95 % interval]. The strongest attack is the worst case, image by "
        "image, over FGSM, DGSM and what the checks of escrime called for, through the defense and with expectation over its "
        "noise, on the images that all of these were run on. The paper has 50 images, one of them is 2 points."
    )
    told = ", ".join(f"{100 * one:.1f} % and {100 * left:.1f} % ({name})" for name, (one, left) in steps.items())
    text += (
        " What one gradient step leaves says little about the rest: after the paper's adversarial training, FGSM through the "
        f"network and the strongest attack leave {told}."
    )
    return ["## What each defense is worth", text, table(heads, rows)]


def point_of(curve: dict | None, eps: float) -> list | None:
    """[ε, share, low, high, n] of a curve at `eps`, or None."""
    return next((point for point in curve["points"] if abs(point[0] - eps) < 1e-6), None) if curve else None


def cell(curve: dict | None, eps: float) -> str:
    """One point of a curve, in percent, with its interval and n."""
    point = point_of(curve, eps)
    if point is None:
        return "–"
    _, share, low, high, n = point
    return f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}], n = {n}"


def curves(kept: dict, files: Path) -> list[str]:
    """The FGSM curves of every network, the paper's overlaid on its own."""
    blocks = ["## The curves"]
    for name, found in kept.items():
        picture = figures.fgsm(found, name, files, overlay=name == "wide_resnet50_2")
        blocks.append(
            f"![Percent correct of {inline(NETWORKS[name])} against ε* under FGSM, one line per defense](paper/{picture})"
        )
    return blocks
