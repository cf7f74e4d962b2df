"""The page's part on common corruptions, from records whose accuracies are known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from escrime.corruptions import COMMON
from escrime.report import read_run
from escrime.report.corruptions import IMAGENET, corruption_tables
from escrime.report.document import as_document
from escrime.report.markdown import markdown
from escrime.report.page import environment
from tests.results.test_corruption_errors import rows


def run(*blocks, classes=10):
    return SimpleNamespace(records=pd.concat(blocks), manifest={"seed": 0}, classes=["c"] * classes)


def test_a_table_for_each_classifier_that_saw_corrupted_images():
    blocks = rows([1, 1, 0, 0], "fog", 3), rows([1, 0, 0, 0], "fog", 5), rows([1, 1, 1, 1], "snow", 3), rows([1] * 4, model="b")
    (made,) = corruption_tables(run(*blocks), "m")
    assert made.title == "undefended" and made.head == ["corruption", "severity 3 (n = 4)", "severity 5 (n = 4)", "mean"]
    assert made.rows == [
        ["snow", "100.0% [51.0, 100.0]", "–", "100.0%"],
        ["fog", "50.0% [15.0, 85.0]", "25.0% [4.6, 69.9]", "37.5%"],
    ]
    assert "Mean corruption error 31.2%" in made.sentences[0] and not any("mCE" in said for said in made.sentences)
    (few,) = corruption_tables(run(*blocks, classes=IMAGENET), "m")
    assert not any("mCE" in said for said in few.sentences) and "so this is none of them" in few.sentences[-1]
    whole = [rows([1, 0], name, severity) for name in COMMON for severity in range(1, 6)]
    (made,) = corruption_tables(run(*whole, classes=IMAGENET), "m")
    assert "mCE" in made.sentences[-1] and not any("none of them" in said for said in made.sentences)


def test_one_severity_has_no_column_that_repeats_it():
    (made,) = corruption_tables(run(rows([1, 0, 1], "fog", 3), rows([1, 0], "snow", 3)), "m")
    assert made.head == ["corruption", "severity 3 (n = 2–3)"] and [len(row) for row in made.rows] == [2, 2]
    assert corruption_tables(run(rows([1], "PGD", 0.1, norm="linf")), "m") == []


def test_names_are_text_on_the_page():
    made = corruption_tables(run(rows([1, 0], "<b>fog</b>")), "m")  # a label of a user's own, beside the fifteen
    assert made[0].sentences == ["No image was seen under all corruptions, so there is no mean over them."]
    page = environment().get_template("corruptions.html.j2").render(model={"name": "<i>m</i>", "corruptions": made})
    assert "<b>" not in page and "<i>" not in page and "&lt;b&gt;fog" in page and page.count("<tr>") == 2
    assert not environment().get_template("corruptions.html.j2").render(model={"name": "m", "corruptions": []}).strip()


def test_markdown_and_json_hold_the_same(builder, tmp_path):
    built = builder(4).model("m").sweep("m", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    for label, share in (("fog", 0.5), ("snow", 1.0), ("<b>|fog", 0.5)):
        built.sweep("m", "none", "white-box", label, {3.0: share})
        built.parts[-1]["norm"] = np.broadcast_to("corruption", 4)
    made = read_run(built.write(tmp_path))
    text, (row,) = markdown(made), as_document(made)["corruptions"]
    assert (
        "| fog | 50.0% [15.0, 85.0] |" in text
        and "| snow | 100.0% [51.0, 100.0] |" in text
        and "<b>" not in text.replace(r"\<b>", "")
    )
    assert "Mean corruption error 25.0%" in text and "2 corruptions × 1 severity, 4 images" in text
    assert (row["error"], row["n"], row["corruptions"]) == (0.25, 4, 2) and row["error_low"] <= 0.25 <= row["error_high"]
