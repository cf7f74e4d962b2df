"""The page shows what universal attacks made, and what it did."""

import json

import numpy as np
import pytest
from PIL import Image

from escrime.report import draw_report, read_run
from escrime.report.figures.examples import attack_words
from escrime.report.one_for_all import one_for_all
from escrime.report.run import Example
from escrime.results.layout import perturbation_picture

NAME = "m--none--white-box--mine"


def built(builder, tmp_path, side=8):
    folder = builder(40).model("m").sweep("m", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    folder = folder.sweep("m", "none", "white-box", "mine", {0: 1.0, 0.1: 0.8}).write(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"attacks": {"mine": "universal", "FGSM": "single"}}))
    (folder / "perturbations").mkdir()
    for half in (0, 1):
        pixels = np.random.default_rng(half).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(perturbation_picture(folder, NAME, 0.1, half))
    return folder


def test_both_halves_with_what_they_did(builder, tmp_path):
    (made,) = one_for_all(read_run(built(builder, tmp_path)), "m")
    assert made.title == "mine, ε = 0.1" and made.small and len({picture.uri for picture in made.pictures}) == 2
    assert made.sentence == "With it m gets 80.0% [65.2, 89.5] of 40 images right, 100.0% without."
    assert made.files == [f"perturbations/{NAME}-eps0.1-half{half}.png" for half in (1, 2)]


def test_they_are_on_the_page(builder, tmp_path):
    folder = built(builder, tmp_path)
    draw_report(folder)
    page = (folder / "report.html").read_text()
    assert "<h3>One perturbation for all images</h3>" in page and f"{NAME}-eps0.1-half2.png" in page
    assert "With it m gets 80.0%" in page and ">second half</span>" in page


def test_what_is_gone_or_no_picture_is_left_out(builder, tmp_path):
    folder = built(builder, tmp_path)
    perturbation_picture(folder, NAME, 0.1, 0).write_text("nothing to see")
    (made,) = one_for_all(read_run(folder), "m")
    assert [picture.title for picture in made.pictures] == ["second half"]
    perturbation_picture(folder, NAME, 0.1, 1).unlink()
    assert one_for_all(read_run(folder), "m") == []


@pytest.mark.parametrize(
    ("attack", "eps", "norm", "said"),
    [
        ("FGSM", 4 / 255, "linf", "FGSM, ε = 4/255, white-box"),
        ("FGSM-l0", 3.0, "l0", "FGSM, ε = 3 pixels in l0, white-box"),
        ("glass_blur", 3.0, "corruption", "glass_blur, corruption severity 3 of 5"),
    ],
)
def test_a_card_says_what_was_done_to_its_image(attack, eps, norm, said):
    entry = {"attack": attack, "eps": eps, "threat": "white-box", "figure": "stands", "image": "i", "label": 0}
    assert attack_words(Example(entry, {}), norm) == said
