"""What the page's chart and gallery are made of: the records' numbers and the examples' own pixels."""

import base64
import io
import json
import re
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from escrime.report import draw_report, read_run
from escrime.report.figures import style
from escrime.report.gallery import LARGEST, embedded, gallery
from escrime.report.interactive import PAPER, SHADES, SPARE_SHADES, WORST, chart, description, shades
from escrime.report.page import TEMPLATES
from escrime.report.paper_points import paper_points
from escrime.results.statistics import wilson

pytestmark = pytest.mark.usefixtures("blank_figures")


def pixels(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.fixture(scope="module")
def run(drawn_run):
    return read_run(drawn_run)


def test_the_chart_holds_the_records(run):
    found = chart(run, "wrn", 0.025)
    titles = [view["title"] for view in found["views"]]
    assert titles == ["FGSM, % correct", "DGSM, % called “English springer”", "DGSM, % correct"]
    fgsm = found["views"][0]
    names = [(curve["defense"], curve["threat"], curve["color"]) for curve in fgsm["curves"]]
    assert names == [
        ("undefended", "white-box", "orange"),
        ("PPA", "transfer", "blue"),
        ("PPA", "adaptive", "blue"),
        ("adversarial training", "transfer", "green"),
        ("adversarial training", "adaptive", "green"),
    ]
    low, high = wilson(21, 50)
    assert fgsm["curves"][0]["points"][1] == [0.025, 42.0, round(100 * low, 3), round(100 * high, 3), 50]
    assert found["eps"] == 0.025
    json.dumps(found, allow_nan=False)
    assert "undefended (white-box), PPA (transfer)" in description(found)


def test_what_stands_beside_the_curves(run):
    views = chart(run, "wrn")["views"]
    marks = {(mark["name"], mark["defense"], mark["threat"]): mark["points"] for mark in views[0]["marks"]}
    assert [point[1] for point in marks[WORST, "undefended", "white-box"]] == [98, *[42] * 8, 38, 34, 22]
    assert marks[PAPER, "undefended", None][1] == [0.025, 42, None, None, 50]
    assert (PAPER, "PPA", "transfer") in marks and (PAPER, "PPA", "adaptive") not in marks
    # Under DGSM the paper counted images called the target, so its points stand only there.
    assert {mark["name"] for mark in views[1]["marks"]} == {PAPER} and views[2]["marks"] == []


def test_an_attack_known_at_one_eps_is_a_mark_and_no_view(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "none", "white-box", "stronger", {0.1: 0.2})
    run = read_run(built.write(tmp_path))
    # Without clean rows of its own kind to borrow, the stronger attack was measured at 0.1 alone.
    (view,) = chart(run, "net")["views"]
    marks = {mark["name"]: mark["points"] for mark in view["marks"]}
    assert marks["stronger attack"][0][:2] == [0.1, 20.0] and PAPER not in marks


def test_an_attack_in_another_norm_stands_on_no_axis_of_this_one(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 1 / 255: 0.5})
    built.sweep("net", "none", "white-box", "Patch", {5.0: 0.2})
    built.parts[-1]["norm"] = np.broadcast_to("patch", 20)
    (view,) = chart(read_run(built.write(tmp_path)), "net")["views"]
    assert {mark["name"] for mark in view["marks"]} == {WORST} and view["fractions"]


def test_attacks_on_one_network_stand_side_by_side(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "none", "white-box", "PGD", {0: 1.0, 0.1: 0.2})
    first, *single = chart(read_run(built.write(tmp_path)), "net")["views"]
    assert [(curve["defense"], curve["points"][-1][1]) for curve in first["curves"]] == [("FGSM", 50), ("PGD", 20)]
    assert len({curve["color"] for curve in first["curves"]}) == 2 and first["kinds"] == "Attack"
    assert [view["attack"] for view in single] == ["FGSM", "PGD"]


def test_images_that_were_not_measured_are_not_counted(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5, 0.2: 0.3})
    built.parts[1] = {name: values[5:] for name, values in built.parts[1].items()}
    built.parts[1]["correct"] = np.ones(15)
    (view,) = chart(read_run(built.write(tmp_path)), "net")["views"]
    assert [(point[1], point[4]) for point in view["curves"][0]["points"]] == [(100, 20), (100, 15), (30, 20)]


def test_the_colors_are_those_of_the_figures():
    """The page names a color, the figures hold it; both must stay the same choice."""
    assert {defense: SHADES[defense] for defense in style.COLORS} == {d: style.THEME[c] for d, c in style.COLORS.items()}


def test_seven_defenses_have_seven_colors_the_same_for_all_models(builder, tmp_path):
    others, built = ["pgd", "trades", "jpeg"], builder(10)
    for model, defenses in (("first", [*SHADES, *others]), ("second", ["none", "jpeg"])):
        built.model(model)
        for defense in defenses:
            threat = "white-box" if defense == "none" else "adaptive"
            built.sweep(model, defense, threat, "FGSM", {0: 1.0, 0.1: 0.5})
    run = read_run(built.write(tmp_path))
    colors = shades(run)
    assert len(set(colors.values())) == len(colors) == 7
    first, second = (chart(run, model)["views"][0]["curves"] for model in ("first", "second"))
    assert {curve["color"] for curve in second} == {"orange", colors["jpeg"]} <= {curve["color"] for curve in first}


# Machado, Oliveira and Fernandes (2009), the whole loss of one kind of cone, on linear RGB.
SEEN = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
TO_CONES = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
TO_OKLAB = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]


def linear(color: str) -> np.ndarray:
    value = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "paper"])
def test_the_colors_are_told_apart_with_and_without_all_cones(theme):
    """Distances in OKLab, where 2 is just visible side by side; and 3 to 1 against the page, as WCAG asks of lines."""
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8").split(":root {")[1 + theme].partition("}")[0]
    values = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", css))
    colors = {name: linear(values[name]) for name in [*SHADES.values(), *SPARE_SHADES]}
    for name, color in colors.items():
        bright, dim = sorted(
            (float(c @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (color, linear(values["page"]))), reverse=True
        )
        assert bright / dim >= 3, name
    for vision, matrix in SEEN.items():
        seen = {n: TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(matrix @ c, 0, 1)) for n, c in colors.items()}
        for first, second in combinations(seen, 2):
            assert 100 * np.linalg.norm(seen[first] - seen[second]) > 8, (vision, first, second)


@pytest.mark.parametrize(
    ("network", "attack", "defense", "last", "count"),
    [
        ("wide_resnet50_2", "FGSM", "ppa", 0.3, 12),
        ("wide_resnet50_2", "FGSM", "ppa", 0.1, 5),  # what lies beyond the sweep is left out
        ("wide_resnet50_2", "DGSM", "none", 0.3, 0),  # a sweep to 0.015 in the corner of one to 0.3
        ("wide_resnet50_2", "FGSM", "jpeg", 0.3, 0),
        ("googlenet", "FGSM", "ppa", 0.3, 0),
        (None, "FGSM", "ppa", 0.3, 0),
    ],
)
def test_the_papers_points_stand_where_they_belong(network, attack, defense, last, count):
    assert len(paper_points(network, attack, defense, last)) == count


def test_cards_say_before_after_and_scale(run):
    found = gallery(run, "wrn")
    first = found.cards[0]
    assert (first.image, first.truth, first.fooled) == ("digits/0001", "tench", True)
    assert [picture.title for picture in first.pictures] == ["original", "added × 2.5", "attacked"]
    assert [picture.prediction for picture in first.pictures] == ["“tench”, 99.1%", "", "“chain saw”, 87.4%"]
    assert [picture.right for picture in first.pictures] == [True, True, False]
    saved = found.cards[1]
    assert not saved.fooled and saved.outcome == "PPA is not fooled: predicts “tench”, 62.5%"
    assert found.kinds == {True, False} and found.classes == ["cassette player", "tench"] and found.small
    example = run.examples("wrn", 1)[0]
    stored = (example.images["original"].transpose(1, 2, 0) * 255).round()
    assert np.array_equal(pixels(first.pictures[0].uri), stored)


def test_a_strip_says_when_it_turns(run):
    (strip,) = gallery(run, "wrn").strips
    assert strip.turned == "first wrong at ε = 0.2" and len(strip.frames) == 5
    assert [frame.picture.right for frame in strip.frames] == [True, True, False, False, False]
    assert len({frame.picture.uri for frame in strip.frames}) == 5


def test_a_large_photo_is_reduced():
    photo = np.random.default_rng(0).uniform(size=(3, 300, 200)).astype(np.float32)
    small, thin = pixels(embedded(photo)), pixels(embedded(photo, thin=True))
    assert small.shape == thin.shape == (100, 66, 3) and max(small.shape) <= LARGEST
    assert small.std() < thin.std() / 2  # averaging fades noise, so a perturbation is thinned instead
    assert np.array_equal(thin[0, 0], (photo[:, 0, 0] * 255).round())


def test_a_run_without_a_slider_still_draws(builder, with_examples, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    with_examples(built, "net")
    html = draw_report(built.write(tmp_path / "run"))[-1].read_text()
    assert 'class="gallery' in html and 'class="watch' not in html


def test_a_closing_tag_in_a_name_stays_in_the_block(builder, tmp_path):
    built = builder(20, classes=["a", "</script><b>", "c", "d", "e"]).model("net")
    built.sweep("net", "none", "white-box", "DGSM", {0: 0.1, 0.1: 0.9})
    html = draw_report(built.write(tmp_path / "run"))[-1].read_text()
    block = html.partition('<script type="application/json">')[2].partition("</script>")[0]
    assert "called “</script><b>”" in json.loads(block)["views"][0]["title"] and "<b>" not in html
