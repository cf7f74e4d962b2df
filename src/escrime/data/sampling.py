"""Seeded choices made per image id, so that they stay the same when a set is reordered."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ..errors import EscrimeError
from .content import encode


def random_order(seed: int, names: Sequence[str]) -> np.ndarray:
    """A number drawn for each name by hashing it with the seed, uint64 (N,): a lottery that knows no order."""
    key = repr(int(seed)).encode() + b"\x1f"
    draws = (int.from_bytes(blake2b(key + encode(name), digest_size=8).digest(), "little") for name in names)
    return np.fromiter(draws, dtype=np.uint64, count=len(names))


def evenly(
    count: int,
    seed: int,
    ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[object] | None = None,
    prefer: np.ndarray | None = None,
) -> np.ndarray:
    """The indices of `count` images (all, if there are fewer), one class after the other in turn, ascending.

    Within a class, images with the largest `prefer` (N,) come first, then a random order. When `count` is no
    multiple of the classes, chance also decides which classes give one image more. The choice of n + 1 contains that of n.
    classes: their names, by default their numbers.
    """
    classes = range(labels.max(initial=0) + 1) if classes is None else classes
    prefer = np.zeros(len(ids), dtype=np.int64) if prefer is None else np.asarray(prefer)
    order = np.lexsort((random_order(seed, ids), -prefer, labels))
    turn = np.empty(len(ids), dtype=np.int64)  # how many images of the class come before this one
    turn[order] = np.arange(len(ids)) - np.searchsorted(labels[order], labels[order])
    class_order = random_order(seed, [f"class {name}" for name in classes])
    return np.sort(np.lexsort((class_order[labels], turn))[:count])


def stratified_split(
    count: int, seed: int, ids: Sequence[str], labels: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The indices (train, test) of a split with `count` test images, each class in proportion, at least one of each.

    Raises:
        EscrimeError: When a class has a single image, or `count` cannot give every class one on either side.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    for name, size in zip(classes, sizes, strict=True):
        if size < 2:
            raise EscrimeError(
                f"class {name!r} has {size} image(s), too few to split into train and test; add images, or make the "
                "split yourself as DIR/train/CLASS and DIR/val/CLASS."
            )
    if not len(classes) <= count <= len(ids) - len(classes):
        raise EscrimeError(
            f"{count} test images out of {len(ids)} cannot leave one of each of the {len(classes)} classes on both "
            "sides; ask for another number."
        )
    # Largest remainder: the shares that lost most by rounding down get the images that are left.
    shares = sizes * (count / len(ids))
    quota = np.clip(np.floor(shares).astype(np.int64), 1, sizes - 1)
    ties = random_order(seed, [f"class {name}" for name in classes])
    while quota.sum() != count:
        step = 1 if quota.sum() < count else -1
        free = (quota < sizes - 1) if step > 0 else (quota > 1)
        gain = np.where(free, step * (shares - quota), -np.inf)
        quota[np.lexsort((ties, -gain))[0]] += step
    order = np.lexsort((random_order(seed, ids), labels))
    turn = np.arange(len(ids)) - np.searchsorted(labels[order], labels[order])
    test = np.zeros(len(ids), dtype=bool)
    test[order[turn < quota[labels[order]]]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
