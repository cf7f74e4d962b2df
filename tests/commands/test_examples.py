"""The pictures a run keeps: fooled and held images, and a slider of images that fall one after another."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from escrime import DGSM, FGSM
from escrime.commands.run.analysis import a_few
from escrime.commands.run.examples import HELD, SLIDES, make_examples
from escrime.data import ImageSet

GRID = [0.0, 0.1, 0.2, 0.3]


class Brightness(torch.nn.Module):
    """Class 1 above mean brightness 0.5, class 0 below: an image falls when ε passes its distance from 0.5."""

    def forward(self, x):
        margin = 40 * (x.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-margin, margin], dim=1)


@pytest.fixture
def made(tmp_path):
    levels = np.array([0.45, 0.44, 0.35, 0.25, 0.1, 0.55, 0.66, 0.74, 0.9, 0.95], dtype=np.float32)
    pixels = np.tile((levels * 255).round().astype(np.uint8).reshape(-1, 1, 1, 1), (1, 3, 8, 8))
    labels = (levels > 0.5).astype(int)
    test = ImageSet("t", pixels, labels, tuple(f"t/{i}" for i in range(10)), ("dark", "bright"))
    rows = [
        {
            "model": "net", "defense": "none", "threat": "white-box", "attack": "FGSM", "eps": eps, "image": f"t/{i}",
            "label": label, "clean_prediction": label, "confidence": 0.9,
            "prediction": label if abs(level - 0.5) > eps else 1 - label,
        }
        for eps in GRID
        for i, (level, label) in enumerate(zip(levels, labels, strict=True))
    ]  # fmt: skip
    attacks, grids = {"FGSM": FGSM(0.3), "DGSM": DGSM(0.3, 1, steps=2)}, {"FGSM": GRID, "DGSM": GRID}
    records = pd.DataFrame(rows)
    make_examples(tmp_path, "net", Brightness(), None, test, records, attacks, grids, 0.1, 0, torch.device("cpu"))
    return json.loads((tmp_path / "net.json").read_text()), np.load(tmp_path / "net.npz")


def test_fooled_and_held_images_are_kept(made):
    items, _ = made
    fooled = {item["image"] for item in items if item["figure"] == 4}
    held = [item for item in items if item["figure"] == "held"]
    assert fooled == {"t/0", "t/1", "t/5"}
    assert len(held) == HELD and all(item["adversarial"]["prediction"] == item["label"] for item in held)
    assert {item["label"] for item in held[:2]} == {0, 1}  # one class after another


def test_the_slider_shows_images_that_fall_one_after_another(made):
    items, arrays = made
    slides = [item for item in items if item["figure"] == "slider"]
    assert len(slides) == SLIDES
    falls = [next(eps for eps, said in zip(GRID, item["predictions"], strict=True) if said != item["label"]) for item in slides]
    assert falls == sorted(falls) and falls[0] == 0.1 and falls[-1] == 0.3
    for item in slides:
        frames = arrays[f"slider_{item['index']}"]
        assert frames.shape == (len(GRID), 3, 8, 8) and frames.dtype == np.float32
        for eps, frame in zip(GRID, frames, strict=True):
            assert np.abs(frame - frames[0]).max() == pytest.approx(eps, abs=1e-6)


def test_what_is_measured_on_a_few_images_is_measured_on_every_class():
    labels = np.repeat(np.arange(4), 20)
    images = np.zeros((80, 3, 2, 2), np.uint8)
    data = ImageSet("sorted", images, labels, tuple(f"i{k}" for k in range(80)), tuple("abcd"))
    assert np.bincount(labels[a_few(data, 16, 0)]).tolist() == [4] * 4
    assert np.bincount(labels[a_few(data, 16, 0, without=1)], minlength=4).tolist() in (
        [6, 0, 5, 5],
        [5, 0, 6, 5],
        [5, 0, 5, 6],
    )
    assert a_few(data, 16, 0) == a_few(data, 16, 0) != a_few(data, 16, 1)
