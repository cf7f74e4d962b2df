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

from . import figures, questions, why
from .curves import at, cell
from .keep import machine
from .networks import DIGITS, NETWORKS, pretrained
from .overview import first_screen

LIKE_THE_PAPER = (NETWORKS["wide_resnet50_2"], NETWORKS["mobilenet_v2"])  # beside the paper's numbers for the first
RULES_SINCE = "2026-11-28T20"  # when what forbids to believe, and how ε is rounded, became what they are
OLD = "(earlier rules)"
OLD_MEANS = (
    "made before the rounding of ε, the verification of successes and what forbids to believe became what they are today. What "
    "stands there under the strongest attack is an upper bound, believed or not."
)
QUESTIONS = ("digits", "epochs", *questions.TUNED)


def write_page(folder: Path) -> Path:
    """Draw the figures into folder/paper and write folder/paper.md; what was not kept is named as missing."""
    files = folder / "paper"
    kept = {name: read(files / f"{name}.json") for name in NETWORKS}
    extra = {name: read(files / f"{name}.json") for name in (*QUESTIONS, *why.MEASURED)}
    present = {name: found for name, found in kept.items() if found}
    leading = {name: present[name] for name in pretrained(present)}
    scratch = {name: found for name, found in present.items() if name not in leading}
    blocks = [HEAD, *first_screen(present, files), *ran(present)]
    blocks += claims(leading, "The paper's claims, on networks with ImageNet weights")
    blocks += [
        *why.explanations(extra, files),
        *worth(present, extra["digits"]),
        *curves(present, files, shown=pretrained(present)[:1]),
    ]
    blocks += questions.answers(present, extra, files)
    blocks += claims(scratch, "The paper's claims, on networks trained from scratch")
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
    heads = ["network", "weights", "images", "trained for", "machine", "took", "commit", "command"]
    rows = []
    for name, found in kept.items():
        about, data = found["about"], found["about"]["data"]
        hardware = about["hardware"]
        subsets = ", ".join(f"{count} {subset}" for subset, count in data["subsets"].items())
        seconds = sum(stage["seconds"] for stage in about["stages"])
        rows.append(
            [
                NETWORKS[name],
                "ImageNet, fine-tuned" if about["pretrained"] else "from scratch",
                f"{data['size']} px; {subsets}",
                f"{about['training']['epochs']} epochs on {data['train']}; hardened {hardened(about)}",
                f"{machine(hardware)}, torch {about['versions']['torch']}",
                duration(seconds),
                made_by(about),
                f"`{about['command']}`",
            ]
        )
    marked = [f"{OLD}: {OLD_MEANS}"] if any(row[-2].endswith(OLD) for row in rows) else []
    return ["## What ran", table(heads, rows).replace("\\`", "`"), *marked]


def made_by(about: dict) -> str:
    """The commit that made a run, marked where the rules of its verdicts are no longer those of today."""
    return f"{about['commit']}{' ' + OLD if about['created'] < RULES_SINCE else ''}"


def hardened(about: dict) -> str:
    training = about["defenses"]["adversarial-training"]
    goal, epochs = training["objective"], training["training"].get("epochs", about["training"]["epochs"])
    return f"{epochs} more by {goal['name']} at ε = {eps_text(goal['eps'])}"


def claims(kept: dict, title: str) -> list[str]:
    """Claim by claim, network by network, on each way to count."""
    if not kept:
        return []
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
        "interval and not from the point. GoogLeNet (BVLC) is the paper's second network as it was published; the paper took "
        "torchvision's, which has BatchNorm. EfficientNet-Lite0 and MobileNetV2 are none of the paper's networks and stand in "
        "for the Wide ResNet."
    )
    heads = ["", "the paper says", "its value", "network, images", "measured [95 % interval]", "verdict and why"]
    return [f"## {title}", text, table(heads, rows)]


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
                sweeps = {(c["threat"], c["attack"]): c for c in own if c["defense"] == defense}
                known = "white-box" if defense == "none" else "adaptive"
                sweep = sweeps.get((known, "FGSM"))
                paper = POINTS["FGSM"].get(defense, {}).get(eps) if name in LIKE_THE_PAPER else None
                verdict = next(v for v in found["verdicts"] if (v["subset"] or None, v["defense"]) == (subset, defense))
                left = [eps, *(verdict[name] for name in ("accuracy", "low", "high", "n"))]
                hard = defense in questions.tried_hard(found)
                if defense == ADVERSARIAL and hard:  # the last subset: leak-free, where there are two
                    steps[name] = (at(sweep, eps)[1], verdict["accuracy"])
                rows.append(
                    [
                        name + (f", {subset}" if subset else f" (ε = {eps_text(eps)})"),
                        defense_name(defense),
                        cell(at(sweep, 0)),
                        cell(at(sweeps.get(("transfer", "FGSM")), eps)),
                        cell(at(sweep, eps)),
                        cell(left) if hard else "not run",
                        f"{paper} %" if paper is not None else "–",
                    ]
                )
    text = (
        "% of images right at ε = 0.025, or the ε named [95 % interval]. The strongest attack is the worst case, image by "
        "image, over FGSM, DGSM and what the checks of escrime called for, through the defense and with expectation over its "
        "noise, on the images that all of these were run on. The paper has 50 images, one of them is 2 points."
    )
    told = ", ".join(f"{100 * one:.1f} % and {100 * left:.1f} % ({name})" for name, (one, left) in steps.items())
    text += (
        " What one gradient step leaves says little about the rest: after the paper's adversarial training, FGSM through the "
        f"network and the strongest attack leave {told}."
    )
    return ["## What each defense is worth", text, table(heads, rows)]


def curves(kept: dict, files: Path, shown: list[str]) -> list[str]:
    """The FGSM curves of every network but those already shown, the paper's overlaid on its own."""
    blocks = ["## The curves"]
    for name, found in kept.items():
        if name in shown:
            continue
        picture = figures.fgsm(found, name, files, overlay=name == "wide_resnet50_2")
        blocks.append(
            f"![Percent correct of {inline(NETWORKS[name])} against ε under FGSM, one line per defense](paper/{picture})"
        )
    return blocks
