"""Training images kept out of training, on which a run that hardens a model watches itself."""

import numpy as np

from ...budgets import epsilon
from ...data.imageset import ImageSet
from ...data.sampling import evenly, stratified_split
from ...errors import EscrimeError
from ...randomness import key
from ..settings import TrainSettings


def probed_eps(objective: object, settings: TrainSettings) -> float | None:
    """The ε at which a run is probed: that of its objective; None where nothing is probed (no ε, or probe_images = 0)."""
    eps = getattr(objective, "eps", None)
    return None if eps is None or settings.probe_images == 0 else epsilon(eps)


def hold_back(data: ImageSet, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows (trained on, held back) of `data`, an ImageSet, both ascending; `count` images are held back.

    Each class gives in proportion to its size, or one image where there are more classes than `count`; a class of one
    image gives none. Which ones is drawn per image id from `seed`: the order of the set does not matter.

    Raises:
        EscrimeError: When `count` is more than half of the images.
    """
    labels, names = np.asarray(data.labels), list(data.ids)
    most = len(names) // 2
    if count > most:
        raise EscrimeError(
            f"probe_images = {count} would hold back more than half of the {len(names)} training images; "
            f"set at most {most}, or 0 for no probe."
        )
    present, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    several = np.flatnonzero(sizes[classes] > 1)
    if not len(several):
        raise EscrimeError("no class has two training images, so none can be held back; set probe_images = 0.")
    present, classes = np.unique(labels[several], return_inverse=True)
    ids, titles = [names[row] for row in several], [str(number) for number in present]
    split_seed = key("probe", seed)
    if count >= len(present):
        count = min(count, len(ids) - len(present))  # every class keeps one
        _, chosen = stratified_split(count, split_seed, ids, classes, titles)
    else:
        chosen = evenly(count, split_seed, ids, classes, titles)
    held = np.zeros(len(names), dtype=bool)
    held[several[chosen]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
