"""Every kind of file comes out as the picture a person would see; every broken one as a sentence that names it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

from escrime import EscrimeError
from escrime.data import UnreadableImage, read_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def flat(path, mode, color, **options):
    Image.new(mode, (6, 6), color).save(path, **options)
    return read_image(path, 6)


def color_of(pixels):
    """The one color of an image of a single color."""
    assert pixels.dtype == np.uint8 and pixels.shape[0] == 3
    colors = np.unique(pixels.reshape(3, -1), axis=1)
    assert colors.shape == (3, 1), f"expected one color, found {colors.shape[1]}"
    return tuple(int(value) for value in colors[:, 0])


def png16(path, rows, channels):
    """A 16-bit PNG written by hand (Pillow writes no 16-bit color): rows of 16-bit samples."""
    rows = np.asarray(rows, dtype=">u2")
    height, width = rows.shape[0], rows.shape[1] // channels
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def test_channels_come_first_in_rgb_order(tmp_path):
    image = Image.new("RGB", (2, 2), RED)
    image.putpixel((1, 0), BLUE)  # x = 1, y = 0: top right
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 2)
    assert pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert pixels[:, 0, 1].tolist() == [0, 0, 255]
    assert pixels[:, 1, 1].tolist() == [255, 0, 0]


def test_gray_and_bilevel_become_three_equal_channels(tmp_path):
    assert color_of(flat(tmp_path / "gray.png", "L", 77)) == (77, 77, 77)
    assert color_of(flat(tmp_path / "bits.png", "1", 1)) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_red_is_red(tmp_path, suffix):
    red, green, blue = color_of(flat(tmp_path / f"a.{suffix}", "CMYK", (0, 255, 255, 0)))
    assert red > 250 and green < 5 and blue < 5


def test_palette_shows_its_colors(tmp_path):
    image = Image.new("P", (6, 6), 1)
    image.putpalette([0, 0, 0, *BLUE])
    image.save(tmp_path / "a.gif")
    assert color_of(read_image(tmp_path / "a.gif", 6)) == BLUE


def test_transparency_lies_on_white(tmp_path):
    palette = Image.new("P", (6, 6), 1)
    palette.putpalette([*RED, *BLUE])
    palette.save(tmp_path / "p.png", transparency=1)
    assert color_of(read_image(tmp_path / "p.png", 6)) == (255, 255, 255)
    palette.save(tmp_path / "q.png", transparency=0)
    assert color_of(read_image(tmp_path / "q.png", 6)) == BLUE
    assert color_of(flat(tmp_path / "rgba.png", "RGBA", (*RED, 0))) == (255, 255, 255)
    assert color_of(flat(tmp_path / "half.png", "RGBA", (*RED, 51))) == (255, 204, 204)
    assert color_of(flat(tmp_path / "la.png", "LA", (0, 51))) == (204, 204, 204)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 257 * 100], [30_000, 65_535]])
    expected = np.rint(levels / 257)
    png16(tmp_path / "gray.png", levels, 1)
    pixels = read_image(tmp_path / "gray.png", 2)
    assert (pixels == expected).all(), pixels
    Image.fromarray(levels.astype(np.uint16)).save(tmp_path / "gray.tif")
    assert (read_image(tmp_path / "gray.tif", 2) == expected).all()
    png16(tmp_path / "color.png", np.repeat(levels, 3, axis=1), 3)
    assert np.abs(read_image(tmp_path / "color.png", 2).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    """A camera that was held in some way stores the pixels turned; the picture must come out upright."""
    upright = np.zeros((16, 16, 3), dtype=np.uint8)
    upright[:8, :8], upright[:8, 8:], upright[8:, :8] = 255, 170, 85  # four different corners
    undo = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
    undo |= {5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1)}
    undo |= {7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    stored.save(tmp_path / f"a.{suffix}", exif=exif.tobytes(), **({"quality": 100} if suffix == "jpg" else {}))
    pixels = read_image(tmp_path / f"a.{suffix}", 16).astype(int)
    assert [pixels[0, y, x] // 80 for y, x in ((2, 2), (2, 13), (13, 2), (13, 13))] == [3, 2, 1, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_does_not_cost_the_image(tmp_path):
    Image.new("RGB", (6, 6), RED).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert color_of(read_image(tmp_path / "a.png", 6)) == RED


@pytest.mark.parametrize("shape", [(40, 40), (64, 40), (33, 71), (10, 17), (16, 500)])
@pytest.mark.parametrize("size", [16, 25])
def test_resize_is_torchvisions_resize_and_center_crop(tmp_path, shape, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = CenterCrop(size)(Resize(size, antialias=True)(Image.fromarray(pixels)))
    assert (read_image(tmp_path / "a.png", size) == np.asarray(expected).transpose(2, 0, 1)).all()


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 8).astype(int)
    assert np.abs(pixels[:, :, 1:-1] - 128).max() <= 2, "one-pixel stripes must blend to gray, not alias"


def test_an_image_of_the_right_size_is_untouched(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 9) == pixels.transpose(2, 0, 1)).all()


def bomb(width=60_000, height=60_000) -> bytes:
    """A small PNG whose header claims that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def encoded(form: str, size=(64, 64)) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


BROKEN = {
    "empty.jpg": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"<html>404 Not Found</html>", "no image format"),
    "cut.jpg": (lambda: encoded("JPEG")[:1500], "truncated"),
    "cut.png": (lambda: encoded("PNG")[:1500], "truncated"),
    "head.png": (lambda: encoded("PNG")[:20], "image"),
    "bomb.png": (bomb, "89,000,000"),
    "wide.png": (lambda: bomb(120_000, 1_000), "claims 120000 × 1000 pixels"),  # Pillow itself only warns
    "long.png": (lambda: encoded("PNG", (20_000, 1)), "more than"),
    "script.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "no image format"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_with_the_reason(tmp_path, name):
    content, reason = BROKEN[name]
    (tmp_path / name).write_bytes(content())
    with pytest.raises(UnreadableImage) as error:
        read_image(tmp_path / name, 224)
    assert name in str(error.value) and reason in str(error.value)
    assert "\n" not in str(error.value)


def test_float_pixels_are_refused_not_guessed(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(EscrimeError, match="a.tif.*range is unknown"):
        read_image(tmp_path / "a.tif", 4)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(EscrimeError, match="absent.png.*cannot be opened"):
        read_image(tmp_path / "absent.png", 8)


def test_a_16_bit_pgm_is_scaled_to_8_bits(tmp_path):
    pixels = np.full((6, 6), 77 * 257, dtype=">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 6 6 65535\n" + pixels.tobytes())
    assert color_of(read_image(tmp_path / "a.pgm", 6)) == (77, 77, 77)
