"""One image file → RGB uint8 pixels of a fixed square size, or one sentence that says why not."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from ..errors import EscrimeError
from ..regular_files import IMAGE, read_regular, reason

Value = TypeVar("Value")
DECODER = 2  # part of the cache key: raise it when the same file comes out as other pixels
MAX_PIXELS = 89_000_000  # 0.27 GB as RGB, where Pillow too begins to suspect a decompression bomb

# Only formats that Pillow reads by itself: its EPS reader would start Ghostscript on an untrusted file.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
OTHER_FORMATS = tuple(".heic .heif .jxl .svg .dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split())  # pictures, but not for Pillow
EXTENSIONS = tuple(".jpg .jpeg .png .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .jp2 .avif".split())


class UnreadableImage(EscrimeError):
    """An image file that cannot be turned into pixels; the only error that `on_error="skip"` passes over."""


def read_image(path: Path | str, size: int) -> np.ndarray:
    """Read an image file.

    EXIF orientation is applied, transparency lies on white, 16-bit gray is scaled to 8 bits, of an animation the first
    frame counts. The shorter side becomes `size` (bilinear, antialiased), then the center is cropped.

    Args:
        path: The file, in any format that Pillow reads.
        size: Pixels of the square side.

    Returns:
        RGB uint8 (3, size, size).

    Raises:
        UnreadableImage: An EscrimeError, with the file and the reason.
    """
    return decode_bytes(_content(path), size, str(path))


def read_photo(path: Path | str) -> Image.Image:
    """As `read_image`, in RGB at the size that the photo has.

    Raises:
        UnreadableImage: As `read_image`.
    """
    return _decoded(_content(path), str(path), to_rgb)


def read_opaque(path: Path | str) -> tuple[Image.Image, tuple[int, int] | None]:
    """As `read_photo`, and (row, column) of the first pixel that is not opaque, None where all are.

    Raises:
        UnreadableImage: As `read_image`.
    """

    def opaque(image: Image.Image) -> tuple[Image.Image, tuple[int, int] | None]:
        if not image.has_transparency_data:
            return to_rgb(image), None
        found = np.argwhere(np.asarray(image.convert("RGBA"))[..., 3] < 255)
        return to_rgb(image), (int(found[0, 0]), int(found[0, 1])) if len(found) else None

    return _decoded(_content(path), str(path), opaque)


def decode_bytes(data: bytes, size: int, name: str) -> np.ndarray:
    """`read_image` for the content of a file that was read already; `name` is what an error calls it."""
    return _decoded(data, name, lambda image: to_square(to_rgb(image), size))


def _content(path: Path | str) -> bytes:
    try:
        return read_regular(path, IMAGE)
    except OSError as error:
        raise UnreadableImage(f"{str(path)!r} cannot be opened: {reason(error)}.") from None


def _decoded(data: bytes, name: str, use: Callable[[Image.Image], Value]) -> Value:
    """What `use` makes of the image in `data`."""
    try:
        return use(open_image(data))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
        raise UnreadableImage(f"{name!r} is not a readable image: {_reason(error)}.") from None


def open_image(data: bytes) -> Image.Image:
    """The decoded image, upright.

    Raises:
        ValueError: For an empty or enormous one; whatever else Pillow raises.
    """
    if not data:
        raise ValueError("the file is empty")
    Image.init()
    image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it claims {width} × {height} pixels, more than {MAX_PIXELS:,}")
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
        upright.format = image.format  # `to_rgb` asks, and a copy forgets it
        return upright
    except Exception:  # the pixels are fine, only the EXIF block is broken: then there is no orientation to apply
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB.

    Raises:
        ValueError: For modes whose range is not known (float, 32-bit integers).
    """
    deep = image.mode == "I" and image.format in ("PNG", "PPM")  # how some Pillow versions give 16-bit gray
    if image.mode.startswith("I;16") or deep:
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode!r}, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Shorter side to `size` (bilinear, antialiased), center crop; uint8 (3, size, size).

    The same geometry as torchvision's Resize(size) and CenterCrop(size).
    """
    wide, high, left, top = placed(*image.size, size)
    if (wide, high) != image.size:
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
    if (wide, high) != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def placed(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Where `to_square` cuts its square from a photo of that many pixels: (width and height after it is resized, left and top
    of the square in that)."""
    if width * height == 0:
        raise ValueError(f"it has {width} × {height} pixels")
    short = min(width, height)
    wide, high = (size if side == short else int(size * side / short) for side in (width, height))
    if wide * high > MAX_PIXELS:
        raise ValueError(f"{width} × {height} pixels would become {wide} × {high}, more than {MAX_PIXELS:,}")
    return wide, high, round((wide - size) / 2), round((high - size) / 2)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "the content is no image format that escrime reads"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims more than {MAX_PIXELS:,} pixels"
    return (str(error) or type(error).__name__).rstrip(".")
