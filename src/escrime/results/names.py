"""How people read the defenses that the records call by their ids, and in which order they stand."""

from collections.abc import Mapping
from typing import Any

DEFENSES = {
    "none": "undefended",
    "ppa": "PPA",
    "adversarial-training": "adversarial training",
    "adversarial-training+ppa": "adversarial training + PPA",
}

MI_DI_TI = "MI-DI-TI-FGSM"  # what is made on surrogates where nothing else is asked for (attacks.transfer.mi_di_ti_fgsm)
AS_TRANSFER = "-transfer"  # behind the name of an attack that is made on surrogates


def defense_name(defense: str) -> str:
    """The paper's by their names; any other is called what the experiment calls it."""
    return DEFENSES.get(defense, defense)


def defended(model: str, defense: str) -> str:
    """A model, and the defense it has, where it has one."""
    return model if defense == "none" else f"{model} with {defense_name(defense)}"


def place(defense: str) -> tuple[int, str]:
    """A key to sort by: undefended first, then the paper's, then others by name."""
    known = list(DEFENSES)
    return (known.index(defense) if defense in known else len(known), defense)


def mask_in_words(about: Mapping[str, Any]) -> str:
    """What Mask.about tells, as a sentence: "only pixels of mask m.png may change, 12 % of the image"; file: "" where it has no
    name."""
    share = 100 * float(about["share"])
    which = f"of mask {about['file']}" if about["file"] else "of the mask"
    return f"only pixels {which} may change, {share:.{0 if share >= 1 else 2}f} % of the image"
