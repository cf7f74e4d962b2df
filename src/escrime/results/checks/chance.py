"""Accuracy that guessing, or always the same prediction, could explain."""

from scipy.stats import binomtest
from torch import Tensor

from ...no_class import NO_CLASS
from ..findings import Finding
from ..statistics import wilson

SURE = 0.01  # p from which accuracy is above chance
BEFORE = ("near-chance", "one-class")  # what must be clear before a robust accuracy means anything
CERTAIN = 0.001  # p from which an alarm about the input is raised
OTHERS = 5  # images of other classes from which one prediction for all of them is no accident


def chance_findings(predictions: Tensor, labels: Tensor, classes: int) -> list[Finding]:
    """predictions and labels (N,) of clean images, one of `classes`; images without a class are left out."""
    named = (predictions != NO_CLASS).cpu()
    predictions, labels = predictions.cpu()[named], labels.cpu()[named]
    if not len(labels):
        return []
    constant = one_class(predictions, labels, classes)
    if constant and classes < 2:
        return constant
    moved = class_order(predictions, labels, classes)  # first: it names a cause
    return moved + near_chance(predictions, labels, classes) + constant


def near_chance(predictions: Tensor, labels: Tensor, classes: int) -> list[Finding]:
    """Whether accuracy is above that of guessing, and of predictions as frequent as these that never look at the image."""
    n, count = len(labels), int((predictions == labels).sum())
    shares = [rows.bincount(minlength=classes).double() / n for rows in (predictions, labels)]
    blind = float((shares[0] * shares[1]).sum())  # how often predictions and labels of these frequencies agree by chance
    chance = max(1 / classes, blind) if int((shares[1] > 0).sum()) > 1 else 1 / classes
    p = float(binomtest(count, n, min(chance, 1.0), alternative="greater").pvalue)
    evidence = {"images": n, "right": count, "classes": classes, "chance": round(chance, 4), "p": p}
    among = f"guessing among {classes} classes: {1 / classes:.1%}"
    if chance > 1.5 / classes:
        among += f", the same answers in any other order: {blind:.1%}"
    numbers = f"{count} of {n} clean images are right ({count / n:.1%}; {among})"
    if p <= SURE:
        return [Finding("near-chance", "passed", numbers, evidence)]
    if wilson(count, n, 1 - CERTAIN)[1] >= (1 + 1 / classes) / 2:
        return [
            Finding(
                "near-chance",
                "warning",
                f"Too few images to tell from guessing: {numbers}",
                evidence,
                "Use more images: until clean accuracy is above chance, no robust accuracy means anything.",
            )
        ]
    return [
        Finding(
            "near-chance",
            "alarm",
            f"{numbers}: not clearly better than guessing (p = {p:.2g}), so likely a loading mistake",
            evidence,
            "Check the weights, the order of the classes, the normalization (--mean and --std, escrime.Normalized), and the "
            "size of the images (--size).",
        )
    ]


def one_class(predictions: Tensor, labels: Tensor, classes: int) -> list[Finding]:
    """What is no better than a model that never looks: one class to choose from, to find, or in every prediction."""
    n, named, present = len(labels), sorted(set(predictions.tolist())), sorted(set(labels.tolist()))
    evidence = {"images": n, "classes": classes, "classes among the labels": len(present), "in the answers": len(named)}
    if classes < 2:
        message = "The model has a single class: its answer is always right or always wrong, whatever the image"
        return [Finding("one-class", "alarm", message, evidence, "Give a classifier of two classes at least, with its logits.")]
    if len(present) < 2:
        message = (
            f"All {n} images are of one class ({present[0]}): a model that always answers that would be as right, and robust"
        )
        return [Finding("one-class", "warning", message, evidence, "Use images of several classes.")]
    if len(named) > 1:
        return []
    others = int((labels != named[0]).sum())
    return [
        Finding(
            "one-class",
            "alarm" if others >= OTHERS else "warning",
            f"The model answers class {named[0]} to all {n} images, {others} of which are of other classes",
            evidence,
            "It does not look at the image, so nothing can fool it: check the weights and the normalization."
            if others >= OTHERS
            else "Use more images of other classes: these cannot tell it from a model that does not look.",
        )
    ]


def class_order(predictions: Tensor, labels: Tensor, classes: int) -> list[Finding]:
    """Classes that the model has in another order than the images: most images of each are predicted as the next of a circle.

    A weak model takes one class for another, but hardly the other for the one as well. Accuracy may be far above chance, since
    the rest of the classes can be in their places.
    """
    mostly: dict[int, int] = {}  # class → the class that more than half of its images are predicted as
    for label in sorted(set(labels.tolist())):
        counts = predictions[labels == label].bincount(minlength=classes)
        if 2 * int(counts.max()) > int(counts.sum()):
            mostly[label] = int(counts.argmax())
    moved = sorted({label for label in mostly if mostly[label] != label and _returns(label, mostly)})
    inside = [(label, said) for label, said in zip(labels.tolist(), predictions.tolist(), strict=True) if label in moved]
    as_next = sum(mostly[label] == said for label, said in inside)
    if not moved or binomtest(as_next, len(inside), 0.5, alternative="greater").pvalue > CERTAIN:
        return []
    named = ", ".join(f"{label} as {mostly[label]}" for label in moved[:5]) + ", …" * (len(moved) > 5)
    return [
        Finding(
            "class-order",
            "alarm",
            f"{as_next} of {len(inside)} images of {len(moved)} classes are predicted as the next of these classes (number "
            f"{named}): the model has its classes in another order than the images",
            {"images": len(labels), "classes moved": len(moved), "images of them": len(inside), "predicted so": as_next},
            "A folder's classes are numbered from 0 in the order of their names: give the model's own order (--classes FILE).",
        )
    ]


def _returns(label: int, mostly: dict[int, int]) -> bool:
    """Whether a walk from class to class, each time to the one that it is mostly predicted as, comes back to `label`."""
    at = mostly[label]
    for _ in mostly:
        if at == label:
            return True
        at = mostly.get(at, -1)
    return False
