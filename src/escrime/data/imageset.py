"""A labeled set of images in memory or on disk, the one form in which every dataset reaches the other rooms."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import EscrimeError
from ..validation import check_whole
from .content import fingerprint, pixel_digests
from .sampling import evenly

Indices = slice | np.ndarray | Sequence[int]  # numbers, or a mask of bools


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N RGB images with labels, stable ids and class names.

    Args:
        name: What messages and records call the set.
        images: uint8 (N, 3, H, W), possibly a read-only memory map.
        labels: int64 (N,), indices of `classes`.
        ids: One unique name per image, the key of its randomness and of its records.
        classes: The name of each class.
        subsets: Name → bool (N,), the ways to count this set; empty when there is only one.
        fingerprint: Hash of pixels, labels, ids and classes, independent of the order; computed when not given.
        wnids: The WordNet id of each class, where it has one.
        left_out: File → reason, for each picture beside them that could not be read or was not looked at.

    Raises:
        EscrimeError: For images, labels or ids of another kind, or that are not as many as each other.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    subsets: dict[str, np.ndarray] = field(default_factory=dict)
    fingerprint: str = ""
    wnids: tuple[str, ...] | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.ids)
        if not isinstance(self.images, np.ndarray):
            kind = type(self.images).__name__
            raise EscrimeError(f"images of {self.name!r} are a {kind}; give a numpy array, such as .numpy() of a tensor.")
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise EscrimeError(
                f"images of {self.name!r} are {self.images.dtype} {self.images.shape}; an ImageSet holds uint8 (N, 3, H, W)."
            )
        labels = np.asarray(self.labels)
        if labels.dtype.kind not in "iu" and labels.size:
            raise EscrimeError(f"labels of {self.name!r} are {labels.dtype}; give integer class indices.")
        if labels.ndim != 1:
            raise EscrimeError(f"labels of {self.name!r} have the shape {labels.shape}; give one class index per image, (N,).")
        odd = next((name for name in self.ids if not isinstance(name, str)), None)
        if odd is not None:
            raise EscrimeError(f"{self.name!r} has the id {odd!r}, a {type(odd).__name__}; ids are names, so give str(id).")
        plain = {
            "labels": labels.astype(np.int64),
            "ids": tuple(self.ids),
            "classes": tuple(self.classes),
            "subsets": {name: np.asarray(mask, dtype=bool) for name, mask in self.subsets.items()},
        }
        for key, value in plain.items():
            object.__setattr__(self, key, value)  # the dataclass is frozen for everybody else
        for what, rows in (("images", self.images), ("labels", labels), *self.subsets.items()):
            if len(rows) != count:
                raise EscrimeError(f"{self.name!r} has {count} ids, but {what!r} has {len(rows)} rows; give one each.")
        twice = next((name for name, times in Counter(self.classes).items() if times > 1), None)
        if twice is not None:
            raise EscrimeError(f"{self.name!r} has the class {twice!r} twice; make the names unique, or merge the classes.")
        if self.wnids is not None and len(self.wnids) != len(self.classes):
            raise EscrimeError(
                f"{self.name!r} has {len(self.classes)} classes and {len(self.wnids)} WordNet ids; give one for each class."
            )
        if len(set(self.ids)) != count:
            raise EscrimeError(f"{self.name!r} has the same id twice; ids key noise and records, so make them unique.")
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            worst = self.labels.min() if self.labels.min() < 0 else self.labels.max()
            raise EscrimeError(
                f"labels of {self.name!r} contain class {worst}, but it has {len(self.classes)} classes; count from 0."
            )
        if not self.fingerprint:
            digests = pixel_digests(self.images)
            mark = fingerprint(digests, self.images.shape[1:], self.labels, self.ids, self.classes)
            object.__setattr__(self, "fingerprint", mark)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Indices) -> "ImageSet":
        """The images at `indices` (integers, a slice or a bool mask (N,)), copied into memory."""
        if not isinstance(indices, slice):
            indices = np.asarray(indices)
            indices = indices.astype(np.int64) if indices.size == 0 else indices
        try:
            rows = np.arange(len(self))[indices]
        except IndexError:
            raise EscrimeError(
                f"cannot select these images from the {len(self)} of {self.name!r}; check the indices."
            ) from None
        return ImageSet(
            name=self.name,
            images=self.images[rows],
            labels=self.labels[rows],
            ids=tuple(self.ids[row] for row in rows),
            classes=self.classes,
            subsets={name: mask[rows] for name, mask in self.subsets.items()},
            wnids=self.wnids,
            left_out=self.left_out,
        )

    def limit(self, n: int, seed: int = 0, *, share: bool = True) -> "ImageSet":
        """At most `n` images, or at most `n` of every subset, as many of each class as of any other.

        Which ones is drawn per image id from `seed`: the order of the set does not matter, and the images of a smaller
        `n` are among those of a larger one. The subsets of the result are the samples drawn for them.
        share=True prefers images that serve several subsets: the fewest images to run, but then the samples resemble
        each other more than the subsets do, and for a small `n` they may be the very same images. share=False draws
        each subset on its own, so that its sample stands for it: up to `n` images per subset to run.

        Raises:
            EscrimeError: When n is not a whole number above 0.
        """
        n = check_whole("limit", n, of="images", hint="or leave it out")
        serves = np.stack(list(self.subsets.values())).astype(np.int64).sum(axis=0) if share and self.subsets else None
        samples = {}
        for name, mask in (self.subsets or {"": np.ones(len(self), dtype=bool)}).items():
            rows = np.flatnonzero(mask)
            prefer = None if serves is None else serves[rows]
            part = evenly(n, seed, [self.ids[row] for row in rows], self.labels[rows], self.classes, prefer)
            samples[name] = np.isin(np.arange(len(self)), rows[part])
        chosen = np.logical_or.reduce(list(samples.values()))
        return replace(self.select(chosen), subsets={name: samples[name][chosen] for name in self.subsets})

    def batch(self, indices: Indices, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Images float32 (n, 3, H, W) in [0, 1] and labels int64 (n,) on `device`, for integers, a slice or a mask."""
        pixels = np.array(self.images[indices])  # a copy: torch wants memory that it may write
        return floats(pixels, device), torch.from_numpy(np.array(self.labels[indices])).to(device)

    def batches(self, batch_size: int, device: torch.device | str = "cpu") -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The whole set in order: (slice of the set, images, labels), as `batch` gives them."""
        batch_size = check_whole("batch size", batch_size, of="images", hint="such as 64")
        for start in range(0, len(self), batch_size):
            rows = slice(start, min(start + batch_size, len(self)))
            yield rows, *self.batch(rows, device)


def floats(pixels: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 images as a model takes them.

    Args:
        pixels: uint8 of any shape, writable, which torch wants.
        device: Where the result lies.

    Returns:
        float32 in [0, 1], of the same shape, on `device`.
    """
    return unit_range(torch.from_numpy(pixels).to(device))


def unit_range(pixels: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """uint8 images of any shape as float32 in [0, 1], each pixel the nearest number to its 255th, on the same device."""
    # A tensor on the device divides exactly; by a Python number, a GPU would multiply with a rounded 1/255.
    return pixels.to(torch.float32, memory_format=layout).div_(torch.full((), 255.0, device=pixels.device))


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset's train and test images."""

    train: ImageSet
    test: ImageSet

    def __iter__(self) -> Iterator[ImageSet]:
        return iter((self.train, self.test))
