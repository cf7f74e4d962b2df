"""Pictures on the page: small ones to the last bit, photos in little room, perturbations in their own colors."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from escrime.report import draw_report
from escrime.report.figures.examples import as_pixels
from escrime.report.pictures import FAITHFUL, data_uri, smaller

EPS = 0.1


def photo(size: int, start: int = 0) -> np.ndarray:
    """A part of a real photo, float (3, size, size)."""
    return load_sample_image("flower.jpg")[start : start + size, 200 : 200 + size].transpose(2, 0, 1) / 255


def attacked(image: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What a step along the sign of a gradient leaves, and that step around mid-gray."""
    signs = np.random.default_rng(seed).choice([-1, 1], image.shape)
    return np.clip(image + EPS * signs, 0, 1), 0.5 + 0.5 * signs


def read(uri: str) -> tuple[str, np.ndarray]:
    head, _, data = uri.partition(";base64,")
    return head.removeprefix("data:image/"), np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@pytest.mark.parametrize("exact", [False, True])
def test_small_images_and_perturbations_are_exact(exact):
    small = as_pixels(attacked(photo(32))[0])
    kind, seen = read(data_uri(small, exact))
    assert kind == "png" and np.array_equal(seen, small)
    perturbation = as_pixels(attacked(photo(224))[1])
    _, seen = read(data_uri(perturbation, exact))
    assert np.array_equal(seen, perturbation)  # even where it was not asked for: half the colors' resolution would gray it


def test_a_photo_takes_half_the_room_and_looks_the_same():
    for image in (photo(224), attacked(photo(224))[0]):
        pixels = as_pixels(image)
        kind, seen = read(found := data_uri(pixels))
        assert kind == "jpeg" and 2 * len(found) < len(data_uri(pixels, exact=True))
        assert np.sqrt(np.mean((seen.astype(float) - pixels) ** 2)) <= FAITHFUL


def test_a_picture_with_holes_stays_as_it_is():
    holed = Image.new("RGBA", (100, 100), (10, 20, 30, 0))
    file = io.BytesIO()
    holed.save(file, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    assert smaller(uri) == uri


@pytest.mark.slow
def test_a_page_of_photos_is_light(builder, tmp_path):
    """One network with as many 224 px photos as a run keeps: under 2.5 MB, so that the paper's two stay under 5."""
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, EPS: 0.5})
    before, after = {"prediction": 0, "confidence": 0.99}, {"prediction": 3, "confidence": 0.9}
    place = {"label": 0, "attack": "FGSM", "eps": EPS, "defense": "none", "threat": "white-box", "target": -1}
    answers = {"original": before, "adversarial": after, "copy": before, "verdict": before}
    for figure, count in ((1, 3), (2, 2), (4, 12), ("held", 6), (8, 2)):
        for i in range(count):
            original = photo(224, 10 * i)
            adversarial = attacked(original, i)[0]
            images = {"original": original, "adversarial": adversarial, "copy": attacked(adversarial, 99 + i)[0]}
            built.example("net", figure, images, image=f"photo/{figure}-{i}", **place, **answers)
    grid = [0.025 * step for step in range(13)]
    for i in range(2):
        original = photo(224, 100 * i)
        signs = attacked(original, i)[1] - 0.5
        frames = np.stack([np.clip(original + 2 * eps * signs, 0, 1) for eps in grid])
        says = {"epsilons": grid, "predictions": [3] * 13, "confidences": [0.9] * 13}
        built.example("net", "slider", {"slider": frames}, image=f"photo/s-{i}", label=0, attack="FGSM", **says)
    folder = built.write(tmp_path / "run")
    page = draw_report(folder)[-1]
    html = page.read_text()
    assert page.stat().st_size < 2.5e6
    assert html.count("data:image/jpeg") > 60 and "Photos are compressed as JPEG" in html
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert sum("Photos are compressed on this page" in caption for caption in captions) == 4  # figures 1, 2, 4 and 8, not 3
    assert "data:image/jpeg" not in (folder / "figures" / "fig1-net.svg").read_text()
