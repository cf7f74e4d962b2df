"""The first table of the page and its words: verdicts as lines, and nothing that this run does not have."""

import json
import re

import numpy as np
import pytest

from escrime.report import draw_report
from escrime.report.first_table import first_table
from escrime.report.glossary import glossary
from escrime.report.headline import headlines
from escrime.report.page import verdicts_by_model
from escrime.report.run import read_run
from escrime.report.validity import validity

pytestmark = pytest.mark.usefixtures("blank_figures")


def table(folder):
    run = read_run(folder)
    judged = verdicts_by_model(run, validity(run), headlines(run))
    return first_table(run, judged), judged


@pytest.fixture
def defended(builder, tmp_path):
    """PPA leaves 80 % of 50 to who ignores it, and of the first 30 images 20 to who knows it."""
    built = builder(50).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 0.8})
    built.sweep("net", "ppa", "adaptive", "FGSM", {0: 1.0, 0.1: 0.4})
    built.parts[-2:] = [{name: values[:30] for name, values in part.items()} for part in built.parts[-2:]]
    return built.write(tmp_path / "run")


def test_each_line_is_a_verdict_with_both_attackers(defended):
    found, judged = table(defended)
    assert [line.verdict for line in found.lines] == judged["net"]
    bare, ppa = found.lines
    assert (bare.defense, bare.clean.text, bare.robust.value, bare.robust.n, bare.ignoring) == (
        "undefended",
        "100.0% [92.9, 100.0]",
        0.5,
        50,
        None,
    )
    assert (ppa.defense, ppa.robust.value, ppa.robust.n) == ("PPA", 20 / 30, 30)
    assert (ppa.ignoring.value, ppa.ignoring.n) == (1.0, 30)  # of the same 30 images, which all stand there
    assert found.transfer and found.lines[0].eps == "ε = 0.1"
    assert bare.reason == "It may be lower, for attacks of a single step were all there was (single-step-only)."


def test_where_no_defense_is_there_is_no_column_for_who_ignores_it(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 8 / 255: 0.5})
    found, _ = table(built.write(tmp_path / "run"))
    assert not found.transfer and found.lines[0].eps == "ε = 8/255"


def test_the_page_begins_with_it(defended):
    html = draw_report(defended)[-1].read_text()
    assert html.index('<table class="rows"') < html.index("<main>") < html.index('<div class="tiles">')
    row = re.findall(r'<tr role="row">.*?</tr>', html, re.S)[2]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip()
    assert words.startswith(
        "net PPA 100.0% [88.6, 100.0] 100.0% [88.6, 100.0] 66.7% [48.8, 80.8] of 30 not as it stands It may be lower"
    )


def words_of(folder):
    return [word for word, _ in glossary(read_run(folder))]


def test_the_glossary_has_the_words_of_this_run_only(defended, builder, tmp_path):
    used = ["ε", "FGSM", "PPA", "white-box", "transfer", "adaptive", "worst case", "95% interval"]
    assert [word for word in words_of(defended) if word != "worst case"] == [word for word in used if word != "worst case"]
    built = builder(20).model("net").sweep("net", "adversarial-training", "adaptive", "stronger PGD", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "none", "black-box", "Square", {0: 1.0, 0.1: 0.5})
    built.parts = [part | {"norm": np.full(20, "l2")} for part in built.parts]
    found = dict(glossary(read_run(built.write(tmp_path / "other"))))
    assert {"Square", "stronger", "Adversarial training", "black-box", "adaptive", "worst case"} < found.keys()
    assert not {"FGSM", "PPA", "DGSM", "transfer", "white-box"} & found.keys() and "l2" in found["ε"]


def test_a_folder_of_images_has_its_own_name_and_its_own_classes(defended):
    path = defended / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["dataset"]["name"] = "folder"
    run = lambda **settings: read_run(_written(path, manifest | {"experiment": settings}))  # noqa: E731
    assert run(images="/some/where/my photos").data_name == "my photos"
    assert run(data={"folder": "cats"}).data_name == "cats"
    assert run(data=3).data_name == run(images=["a"]).data_name == "folder"
    assert run().class_count == f"{run().records['label'].nunique()} of 5 classes"


def _written(path, manifest):
    path.write_text(json.dumps(manifest))
    return path.parent
