"""The first screen of the page: three sentences, one table, one figure, of the network that stands nearest to the paper's."""

from pathlib import Path

from escrime.report.formatting import eps_text
from escrime.report.markdown import inline, table

from . import figures
from .curves import at, fgsm, percent, shown
from .networks import NETWORKS, pretrained

MEASURED = 110  # characters of a measurement in the short table


def first_screen(kept: dict, files: Path) -> list[str]:
    """Nothing before a network with ImageNet weights has been kept."""
    names = pretrained(kept)
    if not names:
        return []
    lead = names[0]
    picture = figures.fgsm(kept[lead], lead, files, overlay=True)
    drawn = (
        f"![Percent correct of {inline(NETWORKS[lead])} against ε under FGSM, one line per defense, the paper's Wide ResNet "
        f"beside them](paper/{picture})"
    )
    return [" ".join(sentences(kept[lead], NETWORKS[lead])), claims_table(kept, names), drawn]


def sentences(found: dict, name: str) -> list[str]:
    """What it is worth without a defense, with averaging, and retrained, each under the attack that ignores and that knows."""
    subset = figures.main_subset(found["curves"])
    eps = found["eps"]
    left_by = lambda defense, threat, where=eps: percent(at(fgsm(found, subset, defense, threat), where))  # noqa: E731
    images = f"the {subset} images" if subset else "the images"
    said = [
        f"**{name}** is right on {left_by('none', 'white-box', 0)} of {images}; FGSM at ε = {eps_text(eps)} leaves "
        f"{left_by('none', 'white-box')}."
    ]
    for defense, what in (("ppa", "Prediction averaging"), ("adversarial-training", "The paper's adversarial retraining")):
        worst = next((v for v in found["verdicts"] if (v["subset"] or None, v["defense"]) == (subset, defense)), None)
        if worst is None:
            continue
        left = shown(worst["accuracy"], worst["low"], worst["high"], worst["n"])
        left = left if worst["believe"] else f"at most {left}"  # a check objects
        said.append(
            f"{what} leaves {left_by(defense, 'transfer')} where the attack ignores it, {left_by(defense, 'adaptive')} where "
            f"FGSM knows it, and {left} under the strongest attack."
        )
    return said


def claims_table(kept: dict, names: list[str]) -> str:
    """Each claim once: of the first network that is the paper's own, else of the first that stands in for it."""
    rows = []
    found = [(name, claim) for name in names for claim in kept[name]["claims"] if claim["verdict"] != "not tested"]
    for identifier in sorted({claim["id"] for _, claim in found}, key=lambda text: int(text[1:])):
        own = [pair for pair in found if pair[1]["id"] == identifier]
        own = [pair for pair in own if not pair[1]["stand_in"]] or own
        own = [pair for pair in own if pair[1]["subset"] in (None, "leak-free")] or own
        name, claim = own[0]
        measured = claim["measured"].split("; ")[0]
        short = measured if len(measured) <= MEASURED else measured[: MEASURED - 1] + "…"
        where = NETWORKS[name] + (" (stands in)" if claim["stand_in"] else "")
        rows.append([identifier, claim["claim"], where, short, claim["verdict"]])
    return table(["", "the paper says", "network", "measured", "verdict"], rows)
