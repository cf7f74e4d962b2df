"""What the paper leaves open, each with a command, a figure or a table, and sentences made from the numbers."""

from pathlib import Path

from escrime.errors import listing
from escrime.report.claims.analysis import corrected, steeper
from escrime.report.figures.style import styled
from escrime.report.figures.surfaces import loss_surfaces
from escrime.report.formatting import eps_text
from escrime.report.markdown import table
from escrime.results.names import defense_name
from escrime.results.statistics import p_text

from . import figures
from .networks import DIGITS, NETWORKS

BOTH = "adversarial-training+ppa"
MEASURES = {
    "loss_rise": "loss rise under FGSM",
    "gradient_norm": "input-gradient norm (l1)",
    "linearity_error": "local linearity error",
    "weight_rise": "loss rise, weights moved at random",
    "weight_ascent": "loss rise, weights moved along the gradient",
}

TUNED = ("tune", "tune-imagenette")  # kept results of `escrime tune`


def answers(kept: dict, extra: dict, files: Path) -> list[str]:
    """The blocks of every question; one without kept results says so."""
    runs = {**{NETWORKS[name]: found for name, found in kept.items()}, **({DIGITS: extra["digits"]} if extra["digits"] else {})}
    sections = {
        "Both defenses at once": lambda: together(runs),
        "More epochs of adversarial training": lambda: epochs(extra["epochs"], files),
        "Choosing ε_max and N": lambda: [block for name in TUNED for block in tuned(extra[name], name)],
        "Is the robust network in a flatter region?": lambda: flatter(runs, files),
        "Does DGSM's perturbation preserve image features?": lambda: features(runs),
    }
    blocks = ["## What the paper leaves open"]
    for title, make in sections.items():
        blocks += [f"### {title}", *(make() or ["Not measured yet."])]
    return blocks


def tried_hard(found: dict) -> set[str]:
    """The defenses of a run that escrime's own strongest attack was run on."""
    return {curve["defense"] for curve in found["curves"] if curve["attack"] == "stronger"}


def command(text: str) -> str:
    return f"```\n{text}\n```"


def together(runs: dict) -> list[str]:
    """Paired tests of both against each, as the tests of a run's page."""
    rows, gains = [], []
    for name, found in runs.items():
        for test in found["tests"]:
            (_, defense, threat, attack), other = test["first"], test["second"][1]
            if defense != BOTH or (attack == "worst case" and not {BOTH, other} <= tried_hard(found)):
                continue  # a worst case over weak attacks would be called the strongest
            under = f"{threat}, {attack}"
            gain = f"{100 * test['difference']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"
            rows.append([name, defense_name(other), under, test["n"], gain, p_text(test["p_holm"]), test["verdict"]])
            if other != "none":
                gains.append((name, other, threat, attack, test["verdict"]))
    if not rows:
        return []
    said = []
    for threat, attack, what in (
        ("transfer", "FGSM", "under the paper's transferred FGSM"),
        ("adaptive", "worst case", "under the strongest adaptive attack"),
    ):
        verdicts = {(n, o): v for n, o, t, a, v in gains if (t, a) == (threat, attack)}
        for network in dict.fromkeys(n for n, _ in verdicts):
            own = [f"{v} (against {defense_name(o)} alone)" for (n, o), v in verdicts.items() if n == network]
            said.append(f"{network}, {what}, both at once: {listing(own)}.")
    return [
        command("escrime run docs/results/imagenette-mobilenet.toml --data DIR --weights FILE     # [defenses] both = true"),
        " ".join(said),
        table(["network", "both against", "attack", "n", "difference, points [95 %]", "p (Holm)", "verdict"], rows),
    ]


def epochs(found: dict | None, files: Path) -> list[str]:
    """Robust accuracy against epoch; the best epoch against the last; recipes."""
    if not found:
        return []
    picture, settings = figures.epochs(found, files), found["settings"]
    heads = ["recipe", "weights", "clean", "FGSM", "PGD-20", "AutoAttack"]
    rows, said = [], []
    for name, row in found["table"].items():
        recipe, best, _ = name.partition(" (best epoch)")
        rows.append(
            [
                recipe,
                which(found, recipe, bool(best)),
                *(share(row[column]) for column in ("clean", "FGSM", "PGD", "AutoAttack")),
            ]
        )
        if best:
            last, kept = found["table"][recipe]["AutoAttack"], row["AutoAttack"]
            apart = "apart" if kept[1] > last[2] or kept[2] < last[1] else "overlapping"
            said.append(
                f"{recipe}: {100 * last[0]:.1f} % under AutoAttack after the last epoch, {100 * kept[0]:.1f} % with the best "
                f"(intervals {apart})"
            )
    text = (
        f"{settings['arch']} on {settings['data']}"
        + (f" at {settings['size']} px" if settings["size"] else "")
        + f", trained clean, then retrained for {settings['epochs']} epochs at ε = {settings['eps']:.4g} by each recipe; after "
        "every epoch FGSM and PGD-10 on held-back training images. "
        f"Of {found['table']['clean']['n']} test images: {'; '.join(said)}. Conditions: {found['conditions']}."
    )
    return [
        command(found["command"]),
        text,
        f"![FGSM and PGD accuracy against epoch, one line per recipe](paper/{picture})",
        table(heads, rows),
    ]


def which(found: dict, recipe: str, best: bool) -> str:
    """The epoch whose weights a row judges."""
    history = found["histories"].get(recipe)
    if not history:
        return "last"
    if not best:
        return f"last ({history[-1]['epoch']})"
    at = max(history, key=lambda row: (row["probe_pgd"], row["probe_clean"], -row["epoch"]))
    return f"best PGD ({at['epoch']})"


def share(row: list) -> str:
    return "{:.1%} [{:.1%}, {:.1%}]".format(*row)


def tuned(found: dict | None, file: str) -> list[str]:
    """The points of `escrime tune`, its choice, and what the other images say of it."""
    if not found:
        return []
    heads = ["ε_max", "N", "clean", "transfer", "adaptive", "mean", ""]
    rows = []
    for row in found["rows"]:
        shares = [
            f"{100 * row[n]:.1f} [{100 * row[f'{n}_low']:.1f}, {100 * row[f'{n}_high']:.1f}]"
            for n in ("clean", "transfer", "adaptive")
        ]
        marks = ", ".join(word for word in ("front", "best", "chosen") if row[word])
        name = "undefended" if row["defense"] == "none" else eps_text(row["eps_max"])
        rows.append([name, row["samples"], *shares, f"{100 * row['mean']:.1f}", marks])
    images, spent = found["images"], found["passes_per_image"]
    text = (
        f"{images['choosing']} images choose, {images['validating']} others validate. {found['rule']} {found['verdict']} "
        f"It took {spent['forwards']:.0f} forward and {spent['backwards']:.0f} backward passes per image, "
        f"{spent['times_as_many_unshared']:.1f} times as many without sharing."
    )
    return [
        command(found["command"]),
        text,
        f"![Clean accuracy against accuracy under attack, one line per ε_max, one mark per N](paper/{file}.png)",
        table(heads, rows),
    ]


def flatter(runs: dict, files: Path) -> list[str]:
    """Numbers of every network beside those of the clean one, and the surfaces."""
    blocks, rows, said = [], [], []
    every = [flat for found in runs.values() for analysis in found["analysis"].values() if (flat := analysis.get("C12"))]
    sure_of = iter(corrected([flat["measures"] for flat in every]))
    for name, found in runs.items():
        for model, analysis in found["analysis"].items():
            flat = analysis.get("C12")
            if not flat:
                continue
            measures = next(sure_of)
            for measure, networks in measures.items():
                for network, row in networks.items():
                    mean = f"{row['mean']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
                    ratio = row.get("ratio")
                    against = f"{ratio:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" if ratio is not None else "–"
                    trained = "trained clean" if network == "none" else defense_name(network)
                    rows.append([name, MEASURES[measure], trained, mean, against, p_text(row["p"]) if "p" in row else "–"])
            sure, unsure = flatter_measures(measures)
            worse = [MEASURES[measure] for measure in steeper(measures)]
            said.append(
                f"{name} (n = {flat['n']}, ε = {eps_text(flat['eps'])}): after the paper's adversarial training it is "
                f"flatter by {listing(sure) if sure else 'no measure'}"
                + (f"; the ratio lies below 1 but the paired test does not agree for {listing(unsure)}" if unsure else "")
                + (f"; it is steeper by {listing(worse)}." if worse else ".")
            )
            with styled():
                drawn = loss_surfaces(Kept(found), model, files)
            blocks.append(f"![{drawn.alt}](paper/{drawn.png.name})\n\n*{drawn.caption}*")
    if not rows:
        return []
    heads = ["network", "measure", "trained", "mean [95 %]", "ratio to clean [95 %]", "p (Holm, all rows)"]
    return [
        command("escrime run docs/results/digits-questions.toml     # figure 9 of any run"),
        " ".join(said),
        *blocks,
        table(heads, rows),
    ]


def flatter_measures(measures: dict) -> tuple[list[str], list[str]]:
    """The measures by which the paper's network is flatter: the ratio's whole interval below 1, and p below 5 % or not."""
    below = {m: networks.get("adversarial-training", {}) for m, networks in measures.items()}
    below = {m: row for m, row in below.items() if row.get("ratio") is not None and row["ratio_high"] < 1}
    named = lambda sure: [MEASURES[m] for m, row in below.items() if (row["p"] < 0.05) == sure]  # noqa: E731
    return named(True), named(False)


class Kept:
    """What a figure of the report asks of a run, from kept results."""

    def __init__(self, found: dict):
        self.found = found

    def analysis(self, model: str) -> dict:
        return self.found["analysis"].get(model, {})


def features(runs: dict) -> list[str]:
    """C11's measure on every network that has it."""
    rows, said = [], []
    for name, found in runs.items():
        for analysis in found["analysis"].values():
            row = analysis.get("C11")
            if row:
                interval = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
                rows.append([name, f"{row['reference']:.3f}", interval, row["n"]])
                where = "above" if row["low"] > 0 else "below" if row["high"] < 0 else "around"
                said.append(f"on {name} the interval lies {where} 0")
    if not rows:
        return []
    text = (
        "DGSM's pattern at ε = 0.2 (figure 8), compared with the edges of the image: the rank correlation of |δ| with the "
        "image's own edges, and how much larger that is than with other images' edges, which a pattern that ignores the image "
        f"makes 0: {listing(said)}."
    )
    return [text, table(["network", "correlation with its own edges", "minus that with others' [95 %]", "n"], rows)]
