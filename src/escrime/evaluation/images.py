"""The images of an evaluation, in slices of one part each."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ..data.sampling import evenly
from ..errors import EscrimeError
from ..threat import check_images, check_labels

PART = 64  # images per part: what a crash can cost
LOOKED_AT = 64  # parts among which a few images are chosen: of a large set not all are read for it


@dataclass(frozen=True)
class Images:
    """The images of one part: pixels (N, C, H, W), labels (N,), ids and subset names (N,)."""

    pixels: Tensor
    labels: Tensor
    ids: tuple
    subsets: tuple[str, ...]

    def only(self, ids: frozenset) -> "Images":
        """The images among `ids`."""
        rows = [row for row, name in enumerate(self.ids) if name in ids]
        names = tuple(self.ids[row] for row in rows)
        return Images(self.pixels[rows], self.labels[rows], names, tuple(self.subsets[row] for row in rows))


def slices(data, device) -> Iterator[Images]:
    """The data in slices of PART images, from an ImageSet or a pair (images, labels)."""
    if isinstance(data, (tuple, list)):
        if len(data) != 2:
            raise EscrimeError(f"data is a {type(data).__name__} of {len(data)}; give an ImageSet or a pair (images, labels).")
        images = check_images(data[0])
        labels = check_labels(data[1], len(images))
        for start in range(0, len(images), PART):
            rows = slice(start, start + PART)
            ids = tuple(range(len(images))[rows])
            yield Images(images[rows].to(device), labels[rows].to(device), ids, ("",) * len(ids))
        return
    for start in range(0, len(data), PART):
        rows = range(start, min(start + PART, len(data)))
        pixels, labels = data.batch(list(rows), device=device)
        names = tuple(" ".join(name for name, mask in data.subsets.items() if mask[i]) for i in rows)
        yield Images(pixels, labels, tuple(data.ids[i] for i in rows), names)


def joined(parts: list[Images]) -> Images:
    """Several parts as one."""
    pixels, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("pixels", "labels"))
    ids, subsets = (sum((getattr(part, name) for part in parts), ()) for name in ("ids", "subsets"))
    return Images(pixels, labels, ids, subsets)


def spread(parts: Iterator[Images], seed: int, count: int = PART) -> Images | None:
    """`count` images evenly over the classes of the first parts; None where there are none. The first images would not do:
    sets are often sorted by class."""
    kept = None
    for part in islice(parts, LOOKED_AT):
        kept = part if kept is None else joined([kept, part])
        labels = kept.labels.cpu().numpy()
        rows = evenly(count, seed, [str(name) for name in kept.ids], labels, range(labels.max(initial=0) + 1))
        kept = kept.only(frozenset(kept.ids[row] for row in rows))
    return kept
