"""A picture file as a mask: white pixels may be changed by an attack, black ones not."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..budgets import LEVELS
from ..errors import EscrimeError
from .decode import read_opaque


@dataclass(frozen=True, eq=False)
class Mask:
    """pixels: which may change, bool (H, W). name: of its file."""

    pixels: np.ndarray
    name: str

    @property
    def share(self) -> float:
        """Of the pixels, those that may change."""
        return float(self.pixels.mean())

    def about(self) -> dict:
        """JSON values that tell it from another, for what is written down."""
        content = repr(self.pixels.shape).encode() + np.packbits(self.pixels).tobytes()
        return {"file": self.name, "share": round(self.share, 6), "sha256": sha256(content).hexdigest()}

    def check_size(self, height: int, width: int) -> None:
        """Raise EscrimeError where it is not of the size at which the model sees images."""
        high, wide = self.pixels.shape
        if (high, wide) != (height, width):
            raise EscrimeError(
                f"the mask {self.name} has {wide} × {high} pixels, and the model sees images of {width} × {height}; save it in "
                "that size."
            )


def read_mask(path: Path | str) -> Mask:
    """The mask in a picture file.

    Args:
        path: A picture of black and white pixels, such as a PNG.

    Returns:
        The mask, true where the picture is white.

    Raises:
        EscrimeError: For a file that is no picture, one with other colors or transparent pixels, and one without a white pixel.
    """
    (picture, there), name = read_opaque(path), Path(path).name
    colors = np.asarray(picture)
    white, black = (colors == LEVELS).all(2), (colors == 0).all(2)
    if not (white | black).all():
        row, column = np.argwhere(~(white | black))[0]
        color = ", ".join(map(str, colors[row, column].tolist()))
        raise EscrimeError(
            f"the mask {name} holds the color ({color}) at row {row}, column {column}; a pixel may change (white) or not "
            "(black), so save it in these two colors, as PNG: JPEG blurs them."
        )
    if there is not None:
        raise EscrimeError(
            f"the mask {name} is transparent at row {there[0]}, column {there[1]}, which is neither white (may change) nor "
            "black; save it without transparency."
        )
    if not white.any():
        raise EscrimeError(f"the mask {name} has no white pixel, so nothing may change; white is what an attack may change.")
    return Mask(white, name)
