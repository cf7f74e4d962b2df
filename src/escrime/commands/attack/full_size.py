"""A perturbation found at the model's size, scaled to the photo it belongs to.

A model sees a photo after it was resized and cut. So a change of what it sees is laid on those pixels of the photo that are
nearest. Resizing mixes neighbors, and so blurs the change: the attack climbs through that blur, which is linear, and what
counts is the file at full size, read and resized as any photo.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...budgets import LEVELS
from ...data import floats
from ...data.decode import placed, to_square
from ...models.running import Classifier


class FullSize:
    """A photo in RGB, and the square of `side` pixels that a model sees of it: `seen`, uint8 (3, side, side)."""

    def __init__(self, photo: Image.Image, side: int) -> None:
        self.pixels, self.side = np.asarray(photo), side
        self.seen = to_square(photo, side)
        wide, high, left, top = placed(*photo.size, side)
        self._columns, self._rows = _nearest(photo.width, wide, left, side), _nearest(photo.height, high, top, side)
        self._across = _blur(self._columns, wide, left, side)
        self._down = _blur(self._rows, high, top, side)

    def changed(self, levels: np.ndarray) -> np.ndarray:
        """The photo, uint8 (H, W, 3), whose pixels move with those of the square by `levels`, whole numbers (3, side, side).
        None moves farther than that, and what lies outside of the square stays."""
        moved = np.pad(levels.astype(np.int16), ((0, 0), (0, 1), (0, 1)))[:, self._rows][:, :, self._columns]
        return (self.pixels + moved.transpose(1, 2, 0)).clip(0, 255).astype(np.uint8)

    def as_read(self, image: Tensor) -> Tensor:
        """What a model sees of the photo that is changed as the square is in `image` (1, 3, side, side) of whole levels."""
        before = torch.from_numpy(self.seen).to(image.device)
        levels = (image[0] * LEVELS).round().int() - before.int()
        photo = Image.fromarray(self.changed(levels.cpu().numpy()))
        return floats(to_square(photo, self.side)[None], image.device)

    def through(self, model: Classifier, device: torch.device | str) -> nn.Module:
        """`model`, asked about squares (N, 3, side, side) as it would see the photos that are changed as they are."""
        return _Blurred(model, floats(self.seen[None], device), self._down, self._across).to(device)


class _Blurred(nn.Module):
    image: Tensor
    down: Tensor
    across: Tensor

    def __init__(self, model: Classifier, image: Tensor, down: np.ndarray, across: np.ndarray) -> None:
        super().__init__()
        self.model = model
        for name, tensor in (("image", image), ("down", torch.from_numpy(down)), ("across", torch.from_numpy(across))):
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        return self.model((self.image + self.down @ (x - self.image) @ self.across.T).clamp(0, 1))


def _nearest(count: int, resized: int, start: int, side: int) -> np.ndarray:
    """For each of `count` pixels along a photo, that of the square which it is nearest to; −1 outside of it."""
    place = np.floor((np.arange(count) + 0.5) * resized / count).astype(int) - start
    return np.where((place >= 0) & (place < side), place, -1)


def _blur(places: np.ndarray, resized: int, start: int, side: int) -> np.ndarray:
    """(side, side): what each pixel along the square gets of a change of each, laid on the photo and resized as it will be."""
    laid = (places == np.arange(side)[:, None]).astype(np.float32)
    if resized != len(places):
        laid = np.asarray(Image.fromarray(laid).resize((resized, side), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(laid[:, start : start + side].T)
