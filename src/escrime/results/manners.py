"""What an attack is (Attack.manner), by its label in the records: as the run folder records it, not as it is called."""

from collections.abc import Mapping

from .records import STRONGER

SINGLE = "single"
EXHAUSTED = "exhausted"  # of a rendered norm: everything that the threat allows was tried
UNIVERSAL = "universal"  # one perturbation for all images: it bounds nothing that is made for each, nor is it bounded by that
# Run folders of earlier versions record no manners at all: there the labels that escrime's own commands gave have to do.
_BEFORE_MANNERS = {
    "FGSM": SINGLE,
    **dict.fromkeys(("DGSM", "PGD", "APGD", "AutoAttack"), "iterated"),
    "Square": "scores",
    **dict.fromkeys(("FMN", "RayS", "DeepFool", "CarliniWagner"), "distance"),
}


def manner_of(label: str, manners: Mapping[str, str] | None) -> str:
    """The manner of the attack called `label`, "" where it is not known, as of a callable of the user's.

    manners: label → manner as recorded, None where the records are of a version that recorded none.
    """
    if label.startswith(STRONGER):
        return "iterated"
    return (_BEFORE_MANNERS if manners is None else manners).get(label, "")
