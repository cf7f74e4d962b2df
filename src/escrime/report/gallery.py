"""The recorded pictures as the page shows them: cards before and after, and images under a growing ε."""

from dataclasses import dataclass

import numpy as np

from ..no_class import NO_TARGET
from .figures.examples import as_pixels, attack_words, scaled
from .formatting import eps_text, percent
from .pictures import SHARP_BELOW, data_uri
from .run import Example, Run

# Where a run records an original with its adversarial image; words are what a card is headed with.
FIGURES = (1, 2, 4, 8, "held", "closest call", "surest mistake", "stands")
HEADED = FIGURES[5:]
LARGEST = 128  # px; larger photos are shown reduced, so that the page stays small


@dataclass(frozen=True)
class Picture:
    """One image of the page: a data URI, what it shows, and what the network predicts for it ("" where it was not asked)."""

    uri: str
    alt: str
    title: str
    prediction: str = ""
    right: bool = True


@dataclass(frozen=True)
class Card:
    """An image before and after an attack; `fooled` is said of the network, or of the defense in `who`."""

    image: str
    truth: str
    attack: str
    who: str
    fooled: bool
    outcome: str
    pictures: list[Picture]
    head: str = ""


@dataclass(frozen=True)
class Frame:
    """An image attacked at one ε, and what the network predicts for it."""

    eps: str
    picture: Picture
    confidence: float


@dataclass(frozen=True)
class Strip:
    """One image at every ε of a sweep; `turned`: in words, the ε at which it is first wrong."""

    image: str
    truth: str
    frames: list[Frame]
    turned: str


@dataclass(frozen=True)
class Gallery:
    cards: list[Card]
    strips: list[Strip]
    small: bool
    reduced: bool

    @property
    def classes(self) -> list[str]:
        return sorted({card.truth for card in self.cards})

    @property
    def lossy(self) -> bool:
        """Whether any picture is not shown to the last bit."""
        shown = [
            *(p for card in self.cards for p in card.pictures),
            *(f.picture for strip in self.strips for f in strip.frames),
        ]
        return any(picture.uri.startswith("data:image/jpeg") for picture in shown)

    @property
    def kinds(self) -> set[bool]:
        return {card.fooled for card in self.cards}

    @property
    def grid(self) -> list[str]:
        """The ε of the longest strip: the positions of the slider."""
        return max(([frame.eps for frame in strip.frames] for strip in self.strips), key=len, default=[])


def gallery(run: Run, model: str) -> Gallery:
    """The cards and strips of one model; both empty where the run recorded no pictures."""
    cards, seen, sides = [], set(), [0]
    for figure in FIGURES:
        for example in run.examples(model, figure):
            key = (example.image, example.attack, example.eps, example.entry.get("defense", "none"))
            if key in seen or not {"original", "adversarial"} <= example.images.keys():
                continue  # figures 1 and 4 share images
            seen.add(key)
            sides.append(max(example.images["original"].shape))
            cards.append(card(run, example))
    slides = [example for example in run.examples(model, "slider") if "slider" in example.images]
    sides += [max(example.images["slider"].shape[1:]) for example in slides]
    strips = [strip(run, example) for example in slides]
    return Gallery(cards, strips, max(sides) < SHARP_BELOW, max(sides) > LARGEST)


def card(run: Run, example: Example) -> Card:
    """Original, perturbation and adversarial image with what the network predicts, and a defense's verdict where it has one."""
    truth = run.class_name(example.label)
    before, after, verdict = example.original, example.adversarial, example.entry.get("verdict")
    target = example.entry.get("target", NO_TARGET)
    delta, factor = scaled(example)
    judged = verdict or after
    fooled = judged["prediction"] == target if target != NO_TARGET else judged["prediction"] != example.label
    who = "PPA" if verdict else "the network"  # only figure 2 holds a defense's verdict
    name = example.image
    pictures = [
        Picture(
            embedded(example.images["original"]),
            f"Original of {name}, class {truth}",
            "original",
            *prediction_line(run, before, example),
        ),
        Picture(embedded(delta, thin=True), f"What was added to {name}, times {factor:g}", f"added × {factor:g}"),
        Picture(
            embedded(example.images["adversarial"]),
            f"{name} after {example.attack}",
            "attacked",
            *prediction_line(run, after, example),
        ),
    ]
    outcome = f"{who} {'is' if fooled else 'is not'} fooled"
    if verdict:
        outcome += f": predicts “{run.class_name(verdict['prediction'])}”, {percent(verdict['confidence'])}"
    aim = f", aimed at “{run.class_name(target)}”" if target != NO_TARGET else ""
    head = example.figure.capitalize() if example.figure in HEADED else ""
    return Card(name, truth, attack_words(example, run.norm_of(example.attack)) + aim, who, fooled, outcome, pictures, head)


def prediction_line(run: Run, prediction: dict, example: Example) -> tuple[str, bool]:
    """What the network predicts, and whether it is right."""
    return prediction_text(run, prediction["prediction"], prediction["confidence"]), prediction["prediction"] == example.label


def prediction_text(run: Run, prediction: int, confidence: float) -> str:
    return f"“{run.class_name(prediction)}”, {percent(confidence)}"


def strip(run: Run, example: Example) -> Strip:
    """One image at every ε it was recorded at."""
    rows = zip(example.epsilons, example.images["slider"], example.predictions, example.confidences, strict=True)
    truth, frames, turned = run.class_name(example.label), [], "right at every ε tried"
    for eps, image, prediction, confidence in rows:
        text, right = prediction_text(run, prediction, confidence), prediction == example.label
        alt = f"{example.image} under {example.attack} at ε = {eps_text(eps)}: {text}"
        frames.append(Frame(f"{eps:.9g}", Picture(embedded(image), alt, f"ε = {eps_text(eps)}", text, right), confidence))
        if not right and turned.startswith("right"):
            turned = f"first wrong at ε = {eps_text(eps)}"
    return Strip(example.image, truth, frames, turned)


def embedded(image: np.ndarray, thin: bool = False) -> str:
    """A float (3, H, W) image in [0, 1] as a data URI, a large one reduced to LARGEST px.

    Pictures are averaged over blocks; `thin` keeps every k-th pixel instead, for a perturbation, which averaging would fade.
    """
    step = -(-max(image.shape[1:]) // LARGEST)
    if step > 1:
        height, width = (side // step * step for side in image.shape[1:])
        cut = image[:, :height, :width]
        blocks = cut.reshape(3, height // step, step, width // step, step)
        image = cut[:, ::step, ::step] if thin else blocks.mean(axis=(2, 4))
    return data_uri(as_pixels(image), exact=thin)
