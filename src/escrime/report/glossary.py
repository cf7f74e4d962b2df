"""The words that a page explains: those that it uses, and no others."""

from collections.abc import Callable
from dataclasses import dataclass

from ..norms import NORMS, Norm, norm
from ..norms.corruption import CommonCorruption
from ..results.names import DEFENSES, MI_DI_TI
from ..results.records import STRONGER
from .formatting import THREAT_MEANINGS
from .run import Run


@dataclass(frozen=True)
class Word:
    """A word, what it means, and whether a run's page uses it."""

    name: str
    meaning: Callable[[Norm], str]
    used: Callable[[Run], bool]


def _attack(name: str, meaning: str) -> Word:
    return Word(name, lambda geometry: meaning.format(direction=geometry.direction), lambda run: name in _attacks(run))


def _budget(one: Norm) -> Word:
    return Word(f"ε in {one.title}", lambda _: one.meaning, lambda run: one.name in _norms(run))


def _threat(name: str, meaning: str) -> Word:
    text = f"{meaning[:1].upper()}{meaning[1:]}."
    return Word(name, lambda _: text, lambda run: bool((run.records["threat"] == name).any()))


def _attacks(run: Run) -> set[str]:
    """The attacks of a run by the first word of their labels: "stronger PGD" is called "stronger", "FGSM-l2" FGSM."""
    labels = [label.removesuffix(norm(run.norm_of(label)).suffix) for label in run.records["attack"].unique()]
    return {word for label in labels for word in (label, label.partition(" ")[0])}


def _defends(run: Run, part: str) -> bool:
    return any(part in defense.split("+") for model in run.models for defense, _ in run.defenses(model))


def _norms(run: Run) -> set[str]:
    """The norms of a run that has several."""
    found = set(run.records.loc[run.records["eps"] > 0, "norm"])
    return found if len(found) > 1 else set()


def _several(run: Run) -> bool:
    return len(_attacks(run) - {"none"}) > 1 or run.records["eps"].nunique() > 2


WORDS = (
    Word("ε", lambda geometry: geometry.meaning, lambda run: not _norms(run)),
    *(_budget(one) for one in NORMS.values()),
    Word(
        "any of the threats",
        lambda _: "For every image, the worst of all threats: the attacker may choose another norm for each.",
        lambda run: bool(_norms(run)),
    ),
    _attack("FGSM", "One step of size ε along {direction} of the loss: away from the truth."),
    _attack("DGSM", "Many small steps within ε, towards one chosen class. Images of that class stay as they are, and count."),
    _attack("PGD", "Many steps along {direction} of the loss, each brought back to within ε."),
    _attack("APGD", "PGD that chooses its step sizes by itself: smaller ones where it no longer gains."),
    _attack("AutoAttack", "APGD, APGD towards each likely class, FMN and Square, each on the images that still stand."),
    _attack("Square", "Squares of changed color at random places, kept where they help; it asks for scores and no gradient."),
    _attack("RayS", "A search along directions for the nearest wrong image; it asks for labels only."),
    _attack("HopSkipJump", "Steps along the boundary to the nearest wrong image; it asks for labels only."),
    _attack("SparseRS", "Sets of pixels and their colors, kept where they help; it asks for scores and no gradient."),
    _attack("Patch", "One square of any colors, at the place that the gradient likes best, changed by many steps."),
    _attack("UniversalPGD", "One perturbation for all images, fitted on half of them and judged by the other half."),
    _attack("UniversalPatch", "One patch for all images, to print: it has to work wherever it lands and however it is turned."),
    _attack("Spatial", "Every rotation, shift and size of a grid: the worst one of them for each image."),
    Word(
        "corruption",
        lambda _: (
            "What happens to pictures without an attacker: noise, blur, weather and compression, as Hendrycks & Dietterich "
            "made them."
        ),
        lambda run: bool((run.records["norm"] == CommonCorruption.name).any()),
    ),
    Word(
        MI_DI_TI,
        lambda _: (
            "PGD with momentum, at shrunk and shifted copies of the image, along smoothed gradients: what it makes on other "
            "networks fools this one more often than what plain PGD makes there."
        ),
        lambda run: any(label.startswith(MI_DI_TI) for label in run.records["attack"].unique()),
    ),
    _attack(STRONGER, "What the checks called for: an attack built for what they found, on the images that still stood."),
    Word(
        DEFENSES["ppa"],
        lambda _: (
            "Perturbed prediction averaging: the network predicts for several noisy copies of an image at once; nothing "
            "is retrained."
        ),
        lambda run: _defends(run, "ppa"),
    ),
    Word(
        DEFENSES["adversarial-training"].capitalize(),
        lambda _: "Adversarial examples are added to the training data.",
        lambda run: _defends(run, "adversarial-training"),
    ),
    *(_threat(name, meaning) for name, meaning in THREAT_MEANINGS.items()),
    Word(
        "worst case",
        lambda _: (
            "For every image, the worst an attacker may choose: any attack, any smaller ε, no step at all and, if "
            "the attacker knows the defense, the examples made without it."
        ),
        _several,
    ),
    Word(
        "95% interval",
        lambda _: "Wilson’s, over images: how far the share could be from the one for all images of this kind.",
        lambda run: True,
    ),
)


def glossary(run: Run) -> list[tuple[str, str]]:
    """(word, meaning) of those that the run's page uses."""
    geometry = norm(run.norm)
    return [(word.name, word.meaning(geometry)) for word in WORDS if word.used(run)]
