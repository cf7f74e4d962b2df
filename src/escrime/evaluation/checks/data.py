"""Checks of the images alone: test images among the training images, duplicates, classes without images."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...checks import check_images
from ...data.content import overlap, pixel_digests
from ...data.given import Given, read
from ...errors import EscrimeError, shortened
from ...results.findings import Finding
from ..images import check_set

SHOWN = 10  # ids named in evidence
MANY = 0.05  # share of the test images that repeat another from which nothing is believed
MISLEADS = 0.005  # share of the test images from which leaked ones bend the numbers


@dataclass(frozen=True)
class Pixels:
    """images: uint8 (N, C, H, W). labels: int64 (N,). ids: one per image. classes: their names."""

    images: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    classes: tuple[str, ...]


def data_findings(test: Any, train: Any = None) -> list[Finding]:
    """What the images themselves show; test, train: an ImageSet or a pair (images, labels), uint8 or float in [0, 1]."""
    known = as_pixels(train) if train is not None else None
    given = as_pixels(test, known.classes if known is not None else ())
    if not len(given.ids):
        return []
    found = leaked(given, known) if known is not None and len(known.ids) else []
    return found + duplicates(given) + absent_classes(given)


def as_pixels(data: Any, classes: tuple[str, ...] = ()) -> Pixels:
    """An ImageSet as it is; other data rounded to 8 bits, its classes at least `classes`."""
    if isinstance(data, Pixels):
        return data
    if not _is_pair_of_bytes(data):
        data = read(data)
        if not isinstance(data, Given):
            check_set(data, "images", "labels", "ids", "classes")
            return data
        data = data.images, data.labels
    images, labels = data
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = images.numpy() if str(images.dtype) == "torch.uint8" else _rounded(images)
    labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels).astype(np.int64)
    if len(labels) != len(images):
        raise EscrimeError(f"data has {len(images)} images and {len(labels)} labels; give one label per image.")
    count = max(len(classes), int(labels.max(initial=-1)) + 1)
    names = tuple(classes) + tuple(str(k) for k in range(len(classes), count))
    return Pixels(np.asarray(images), labels, tuple(str(row) for row in range(len(images))), names)


def _is_pair_of_bytes(data: Any) -> bool:
    """Whether it is a pair (images, labels) of uint8, which no attack takes, and training images may be."""
    return isinstance(data, (tuple, list)) and len(data) == 2 and str(getattr(data[0], "dtype", "")).endswith("uint8")


def _rounded(images: Tensor) -> np.ndarray:
    return (check_images(images.float()) * 255).round().byte().numpy()


def leaked(test: Any, train: Any) -> list[Finding]:
    """Test images whose pixels are also in the training set."""
    sizes = [tuple(map(int, part.images.shape[1:])) for part in (test, train)]
    if sizes[0] != sizes[1]:
        return [
            Finding(
                "train-test-overlap",
                "note",
                f"Not looked for test images in the training set: test images are {sizes[0]} and training images {sizes[1]} "
                "(channels, height, width)",
                {"test": list(sizes[0]), "train": list(sizes[1])},
                "Load both at the same size to have them compared.",
            )
        ]
    names = overlap(train, test)
    n, share = len(test.ids), len(names) / len(test.ids)
    evidence = {"test": n, "train": len(train.ids), "in both": len(names)}
    if not names:
        message = f"None of the {n:,} test images is among the {len(train.ids):,} training images, pixel by pixel"
        return [Finding("train-test-overlap", "passed", message, evidence)]
    return [
        Finding(
            "train-test-overlap",
            "alarm" if share >= MISLEADS else "note",
            f"{len(names):,} of {n:,} test images ({share:.1%}) are training images, pixel by pixel",
            evidence | {"some of them": list(names[:SHOWN])},
            "Take them out of one of the two sets and train again.",
        )
    ]


def duplicates(test: Any) -> list[Finding]:
    """Repeated images: each counts again, and makes the intervals narrower than they should be; where they are more than MANY,
    by so much that no number stands."""
    rows = defaultdict(list)
    for row, content in enumerate(pixel_digests(test.images)):
        rows[content.tobytes()].append(row)
    groups = [group for group in rows.values() if len(group) > 1]
    n, extra = len(test.ids), sum(len(group) - 1 for group in groups)
    if not groups:
        message = f"The {n:,} test images are all different"
        return [Finding("duplicates", "passed", message, {"images": n})]
    at_odds = sum(len({int(test.labels[row]) for row in group}) > 1 for group in groups)
    message = f"{extra:,} of {n:,} test images repeat another one"
    message += f" ({at_odds:,} images under different labels)" if at_odds else ""
    evidence: dict[str, Any] = {"images": n, "repeat another": extra, "at odds over the label": at_odds}
    evidence |= {"some of them": [" = ".join(test.ids[row] for row in group) for group in groups[:SHOWN]]}
    severity = "warning" if extra > MANY * n else "note"
    return [Finding("duplicates", severity, message, evidence, "Keep one of each; n, and with it every interval, is too sure.")]


def absent_classes(test: Any) -> list[Finding]:
    """Classes without images, for which nothing was measured."""
    counts = np.bincount(np.asarray(test.labels), minlength=len(test.classes))
    absent = [name for name, count in zip(test.classes, counts.tolist()) if not count]
    evidence = {"classes": len(test.classes), "fewest": int(counts.min()), "most": int(counts.max())}
    if not absent:
        message = f"All {len(test.classes)} classes have test images, {counts.min():,} to {counts.max():,} each"
        return [Finding("classes", "passed", message, evidence)]
    message = f"{len(absent)} of {len(test.classes)} classes have no test image: {shortened(absent, SHOWN)}"
    return [
        Finding("classes", "note", message, evidence | {"absent": absent[:SHOWN]}, "Use more images, drawn evenly by class.")
    ]
