"""Pictures inside the page: small ones exact, photos as JPEG where that saves room and looks the same."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..regular_files import IMAGE, read_regular

SHARP_BELOW = 64  # px; smaller images are shown as their pixels are
LARGEST_KEPT = 2**24  # pixels of a picture in a run folder
QUALITY, FAITHFUL = 75, 26.0  # of a JPEG; the root mean square error in levels of 255 up to which it stands for the picture


def data_uri(pixels: np.ndarray, exact: bool = False) -> str:
    """uint8 (H, W, 3) pixels as a data URI, exact for small images, with `exact`, and where no JPEG is smaller and faithful.

    A JPEG halves the resolution of color first, which the eye forgives in a photo; a perturbation lives from its colors, and
    the bound on the error keeps them.
    """
    gray = bool((pixels[..., :1] == pixels).all())
    picture = Image.fromarray(pixels[..., 0] if gray else pixels)
    png = encoded(picture, "PNG", optimize=True)
    if max(pixels.shape[:2]) < SHARP_BELOW:
        return written("png", png)
    for subsampling in () if exact else ("4:2:0", "4:4:4"):
        jpeg = encoded(picture, "JPEG", quality=QUALITY, subsampling=subsampling)
        if len(jpeg) < len(png) and error(picture, jpeg) <= FAITHFUL:
            return written("jpeg", jpeg)
    webp = encoded(picture, "WEBP", lossless=True)
    return written("webp", webp) if len(webp) < len(png) else written("png", png)


def written(kind: str, file: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file).decode('ascii')}"


def smaller(uri: str) -> str:
    """A PNG's data URI, as `data_uri` would write its pixels; one with holes as it is."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        if max(picture.size) < SHARP_BELOW or np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
            return uri
        return min(uri, data_uri(np.asarray(picture.convert("RGB"))), key=len)


def read_png(path: Path) -> np.ndarray | None:
    """The picture that a run has kept, float (3, H, W) in [0, 1]; None where there is none that can be read, for a page can do
    without."""
    try:
        with Image.open(io.BytesIO(read_regular(path, IMAGE)), formats=["PNG"]) as picture:
            if picture.width * picture.height > LARGEST_KEPT:
                return None
            return np.asarray(picture.convert("RGB"), dtype=np.float64).transpose(2, 0, 1) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # whatever Pillow stumbles over in a broken file
        return None


def encoded(picture: Image.Image, format: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **settings)
    return file.getvalue()


def error(picture: Image.Image, file: bytes) -> float:
    """How far a file's pixels are from the picture's, root mean square in levels."""
    with Image.open(io.BytesIO(file)) as stored:
        difference = np.asarray(stored, dtype=np.float32) - np.asarray(picture, dtype=np.float32)
    return float(np.sqrt(np.mean(difference**2)))
