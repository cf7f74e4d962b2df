"""The images of an evaluation, in slices of one part each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attacks.core.masks import checked_mask
from ..checks import check_labels
from ..data.given import Given, read
from ..data.sampling import evenly
from ..errors import EscrimeError
from ..randomness import key

Data = Any  # what data.given.read takes
PART = 64  # images per part: what a crash can cost


def check_set(data: Any, *needed: str) -> None:
    """Errors: EscrimeError for data that lacks one of the `needed` attributes of an ImageSet."""
    if not all(hasattr(data, name) for name in needed):
        raise EscrimeError(f"data is a {type(data).__name__}; give an ImageSet or a pair (images, labels).")


@dataclass(frozen=True)
class Images:
    """The images of one part: pixels (N, C, H, W), labels (N,), ids and subset names (N,). mask: which of their pixels may
    change, bool (1, 1, H, W), None for all."""

    pixels: Tensor
    labels: Tensor
    ids: tuple
    subsets: tuple[str, ...]
    mask: Tensor | None = None

    def between(self, start: int, stop: int) -> "Images":
        """The images from position `start` to before `stop`."""
        at = slice(start, stop)
        return Images(self.pixels[at], self.labels[at], self.ids[at], self.subsets[at], self.mask)

    def only(self, ids: frozenset) -> "Images":
        """The images among `ids`."""
        rows = [row for row, name in enumerate(self.ids) if name in ids]
        names = tuple(self.ids[row] for row in rows)
        return Images(self.pixels[rows], self.labels[rows], names, tuple(self.subsets[row] for row in rows), self.mask)


@dataclass(frozen=True, eq=False)
class Source:
    """The images of an evaluation on `device`, from whatever `data.given.read` takes; called, it gives them in slices of PART
    images. mixed: a seed, for an order in which any first part stands for all; None for that of the data. mask: which pixels
    of every image may change, (H, W); None for all."""

    data: Any
    device: torch.device
    mixed: int | None = None
    mask: Any = None

    def __call__(self) -> Iterator[Images]:
        _, labels, ids = self._all
        order = list(range(len(labels)))
        if self.mixed is not None:
            order.sort(key=lambda row: key(self.mixed, "order", ids[row]))
        for start in range(0, len(order), PART):
            yield self.rows(order[start : start + PART])

    def __len__(self) -> int:
        return len(self._all[1])

    @cached_property
    def _given(self) -> Any:
        """The ImageSet, or what was read of other data."""
        found = read(self.data)
        if not isinstance(found, Given):
            check_set(found, "labels", "ids", "subsets", "batch")
        return found

    @cached_property
    def _all(self) -> tuple[Tensor | None, np.ndarray, Sequence]:
        """(images that are in memory as floats, labels, ids). Errors: EscrimeError where there is no image."""
        found = self._given
        if not len(found.ids):
            raise EscrimeError("data holds no image; give at least one.")
        if isinstance(found, Given):
            return found.images.detach(), found.labels.numpy(), found.ids
        return None, found.labels, found.ids

    @property
    def names(self) -> Sequence:
        """The id of every image, in the order of the data."""
        return self._all[2]

    @property
    def labels(self) -> np.ndarray:
        """The label of every image, in the order of the data, int64 (N,)."""
        return self._all[1]

    def check_classes(self, classes: int) -> None:
        """Refuse labels that are no class of a model with this many."""
        _, labels, _ = self._all
        check_labels(torch.tensor(labels), len(labels), classes)

    def rows(self, rows: list[int]) -> Images:
        """The images at these positions."""
        images, labels, ids = self._all
        names = tuple(ids[row] for row in rows)
        if images is None:
            subsets = tuple(" ".join(name for name, mask in self._given.subsets.items() if mask[row]) for row in rows)
            given, classes = self._given.batch(rows, device=self.device)
            return Images(given, classes, names, subsets, _for_all(self.mask, given))
        pixels, classes = images[rows].to(self.device), torch.from_numpy(labels[rows]).to(self.device)
        return Images(pixels, classes, names, ("",) * len(rows), _for_all(self.mask, pixels))

    def few(self, count: int, seed: int, among: set[str] | None = None) -> Images:
        """`count` images evenly over the classes, of those named in `among` where it is given. The first images would not
        do: sets are often sorted by class."""
        _, labels, ids = self._all
        known = np.array([row for row, name in enumerate(ids) if among is None or str(name) in among], dtype=np.int64)
        return self.rows(known[evenly(count, seed, [str(ids[row]) for row in known], labels[known])].tolist())

    def few_pairs(self, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        """count → (pixels, labels) of `few` images."""

        def pairs(count: int) -> tuple[Tensor, Tensor]:
            few = self.few(count, seed)
            return few.pixels, few.labels

        return pairs


def _for_all(mask: Any, pixels: Tensor) -> Tensor | None:
    """The mask of an evaluation, (1, 1, H, W), for images (N, C, H, W); None for none.

    Raises:
        EscrimeError: For one that is no mask, and for one of each image.
    """
    shape = tuple(getattr(mask, "shape", ()))
    if len(shape) == 4 and shape[0] > 1:
        raise EscrimeError(
            f"the mask has shape {shape}, one of each image, and an evaluation has one mask for all of its images; give one of "
            "(H, W), or attack with masks of their own by calling an attack yourself."
        )
    return checked_mask(mask, pixels[:1])
