"""From a set of uint8 images to batches on the device: which images, in which order, in which memory format.

On an accelerator the whole set is kept there as uint8 when it fits in half of the free memory; otherwise, and on a
CPU, batches are read from the set's own array, which may be a memory map.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import ImageSet
from ..data.imageset import unit_range
from ..errors import EscrimeError
from ..randomness import generator


class Loader:
    """Batches of `data` (an ImageSet) on `device`, in the memory format `layout`; `what` they are is said in errors.

    side: of the square images that the model sees, where that is not their own (see crop_size of TrainSettings).
    """

    def __init__(self, data: ImageSet, device: torch.device, what: str = "training data", side: int | None = None):
        if not isinstance(data, ImageSet):
            raise EscrimeError(
                f"the {what} are a {type(data).__name__}; give an ImageSet such as escrime.data.load('digits').train."
            )
        if len(data.ids) == 0:
            raise EscrimeError(f"the {what} hold no image; check the split or the limit.")
        self.data, self.device, self.what, self.side = data, device, what, side
        self.layout = torch.contiguous_format
        self._resident: Tensor | None = None
        if device.type == "cuda" and data.images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
            self._resident = torch.from_numpy(np.array(data.images)).to(device)

    def __len__(self) -> int:
        return len(self.data.ids)

    def pixels(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """uint8 images (n, 3, H, W) and int64 labels (n,) on the device."""
        labels = torch.from_numpy(np.asarray(self.data.labels)[rows]).to(self.device, non_blocking=True)
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(self.device, non_blocking=True)], labels
        return torch.from_numpy(np.ascontiguousarray(self.data.images[rows])).to(self.device), labels

    def images(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Whole images as the model sees them, as `floats` gives them, and their labels; resized to `side`, smoothly."""
        pixels, labels = self.pixels(rows)
        if self.side not in (None, pixels.shape[-1]):
            resized = F.interpolate(pixels.float(), (self.side, self.side), mode="bilinear", antialias=True)
            pixels = resized.round_().clamp_(0, 255).to(pixels.dtype)
        return self.floats(pixels), labels

    def first(self, count: int) -> Tensor:
        """The first `count` images, or as many as there are, as `images` gives them."""
        return self.images(np.arange(min(count, len(self))))[0]

    def floats(self, pixels: Tensor) -> Tensor:
        """float32 in [0, 1], exactly as ImageSet.batch gives them, in the run's memory format."""
        return unit_range(pixels, self.layout)


def epoch_order(count: int, seed: int, epoch: int, batch_size: int) -> Iterator[np.ndarray]:
    """The batches of an epoch as rows: a permutation of range(count) from (seed, epoch), in nearly equal parts."""
    order = torch.randperm(count, generator=generator("training", seed, "order", epoch)).numpy()
    return iter(np.array_split(order, steps_per_epoch(count, batch_size)))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches an epoch has."""
    return -(-count // batch_size)
