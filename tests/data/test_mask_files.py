"""A picture as a mask: white may change, black not, anything else is refused."""

import numpy as np
import pytest
from PIL import Image

from escrime import EscrimeError
from escrime.data.masks import read_mask
from escrime.results.names import mask_in_words


def saved(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def test_white_may_change_in_any_kind_of_png(tmp_path):
    pixels = np.zeros((4, 5), np.uint8)
    pixels[1:3, 2:] = 255
    for name, form in (("gray", "L"), ("bits", "1"), ("colors", "RGB"), ("alpha", "RGBA")):
        Image.fromarray(pixels).convert(form).save(tmp_path / f"{name}.png")
        mask = read_mask(tmp_path / f"{name}.png")
        assert (mask.pixels == (pixels > 0)).all() and mask.name == f"{name}.png" and mask.share == 0.3
    same = read_mask(tmp_path / "gray.png").about()
    assert same["sha256"] == mask.about()["sha256"], "known by its pixels"
    assert mask_in_words(same) == "only pixels of mask gray.png may change, 30 % of the image"
    assert read_mask(saved(tmp_path / "other.png", 255 - pixels)).about()["sha256"] != same["sha256"]


def test_what_is_no_mask_is_refused(tmp_path):
    with pytest.raises(EscrimeError, match=r"gray.png holds the color \(128, 128, 128\) at row 1, column 2"):
        read_mask(saved(tmp_path / "gray.png", [[0, 255, 0], [0, 0, 128]]))
    see_through = np.full((3, 4, 4), 255, np.uint8)
    see_through[1, 2, 3] = 0
    with pytest.raises(EscrimeError, match="through.png is transparent at row 1, column 2"):
        read_mask(saved(tmp_path / "through.png", see_through))
    with pytest.raises(EscrimeError, match="black.png has no white pixel"):
        read_mask(saved(tmp_path / "black.png", np.zeros((3, 3))))
    with pytest.raises(EscrimeError, match="cannot be opened"):
        read_mask(tmp_path / "none.png")
    mask = read_mask(saved(tmp_path / "wide.png", np.full((3, 5), 255)))
    mask.check_size(3, 5)
    with pytest.raises(EscrimeError, match="wide.png has 5 × 3 pixels, and the model sees images of 8 × 8"):
        mask.check_size(8, 8)
