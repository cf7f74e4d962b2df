"""Two hundred images of stripes, up and down or left to right: a dataset of two classes that needs no file."""

import numpy as np

from .dataset import Dataset, Options
from .imageset import ImageSet, Splits


class Stripes(Dataset):
    name = "stripes"
    what = "200 images of stripes, up and down or left to right; built in"
    side = 8
    folder = "none"

    def load(self, options: Options) -> Splits:
        return Splits(*options.kept([_stripes(part, side) for part, side in zip(("train", "test"), options.sides)]))


def _stripes(part: str, side: int) -> ImageSet:
    labels = np.arange(100) % 2
    line = np.arange(side) % 2 * 255
    pictures = np.stack([np.broadcast_to(line, (side, side)), np.broadcast_to(line[:, None], (side, side))]).astype(np.uint8)
    pictures = np.repeat(pictures[labels][:, None], 3, axis=1)
    return ImageSet("stripes", pictures, labels, tuple(f"stripes/{part}/{i}" for i in range(100)), ("down", "across"))
