"""report.html: complete, self-contained, valid, and every number on it is the records'."""

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import escrime.report
from escrime.report import draw_report, read_run
from escrime.report.formatting import fraction_text, percent
from escrime.report.headline import headline
from escrime.report.markdown import markdown
from escrime.report.page import flat
from escrime.report.tables import class_table
from escrime.results.findings import Finding
from escrime.results.statistics import wilson

pytestmark = pytest.mark.usefixtures("blank_figures")

TARGET = 1  # the class DGSM aims at in the synthetic runs
NAMES = ("PPA", "adversarial training", "adversarial training + PPA", "pgd-training")
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting while it collects text, ids and references."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.ids, self.references, self.words, self.labels = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.references += [value for key, value in attributes if key in ("href", "src", "xlink:href", "srcset", "data")]
        if tag == "svg":
            self.labels.append((found.get("role"), found.get("aria-label")))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1] if self.open else None}>"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="session")
def page(drawn_run):
    return Page((drawn_run / "report.html").read_text())


def test_it_is_self_contained(drawn_run, page):
    html = (drawn_run / "report.html").read_text()
    assert "http" not in html and "@import" not in html and "url(" not in re.sub(r"url\(#[^)]+\)", "", html)
    outside = [r for r in page.references if not r.startswith(("#", "data:"))]
    assert outside == []
    inside = [r[1:] for r in page.references if r.startswith("#")] + re.findall(r"url\(#([^)]+)\)", html)
    assert inside and set(inside) <= set(page.ids)
    assert len(html) < 5e6


def test_it_is_valid_and_accessible(page):
    assert len(page.ids) == len(set(page.ids))
    assert len(page.labels) == 11 and all(role == "img" and len(label) > 30 for role, label in page.labels)


def test_the_first_screen_answers(page):
    # The paper's curve: FGSM takes 98 % to 42 % at 0.025; PPA 86 % in transfer, 10 % adaptive.
    assert "One gradient step of ε = 0.025 (FGSM) takes wrn from 98.0% to 42.0% correct" in page.text
    assert "PPA is worth +44.0 points against an attacker who ignores it but −32.0 against one who knows it" in page.text
    assert "adversarial training +36.0 and +36.0." in page.text
    low, high = (f"{100 * bound:.1f}%" for bound in wilson(21, 50))
    assert f"95%: {low} to {high}, n = 50" in page.text.replace("\xa0", " ")


def test_verdicts_name_the_defenses_as_people_do(builder, tmp_path, escrime):
    built = builder(20).model("net").sweep("net", "pgd-training", "adaptive", "FGSM", {0: 1.0, 0.1: 0.5})
    for defense in ("adversarial-training+ppa", "adversarial-training", "ppa", "none"):
        built.sweep("net", defense, "white-box" if defense == "none" else "adaptive", "FGSM", {0: 1.0, 0.1: 0.5})
    folder = built.write(tmp_path / "run")
    starts = [f"net{name} keeps 50.0% of 20" for name in ("", *(f" with {name}" for name in NAMES))]
    said = re.findall(
        r"<li><span[^>]*>[a-z ]+</span> (net[a-zA-Z+ -]*? keeps [0-9.]+% of 20)", draw_report(folder)[-1].read_text()
    )
    assert said == starts
    _, markdown, _ = escrime("report", folder, "--format", "md")
    assert re.findall(r"net[a-zA-Z+ -]*? keeps [0-9.]+% of 20", markdown) == starts
    _, facts, _ = escrime("report", folder, "--format", "json")
    found = [(verdict["defense"], verdict["sentence"].partition(" images")[0]) for verdict in json.loads(facts)["verdicts"]]
    assert found == list(zip(("none", "ppa", "adversarial-training", "adversarial-training+ppa", "pgd-training"), starts))


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (0.2, "0.2"),
        (0.1, "0.1"),
        (8 / 255, "8/255"),
        (round(1 / 255, 6), "1/255"),
        (0.5 / 255, "0.5/255"),
        (1e-7, "1e-07"),
        (0.00123456, "0.001235"),
        (0.0, "0"),
    ],
)
def test_eps_is_a_fraction_where_it_is_no_short_number(eps, text):
    assert fraction_text(eps) == text


def test_a_gain_that_may_be_none_is_called_so(builder, tmp_path):
    built = builder(100).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 0.8})
    built.sweep("net", "ppa", "adaptive", "FGSM", {0: 1.0, 0.1: 0.51})
    text = Page(draw_report(built.write(tmp_path / "run"))[-1].read_text()).text
    assert "PPA is worth +30.0 points against an attacker who ignores it but nothing clear (+1.0) against one" in text


def test_two_gains_that_may_be_none_are_no_contrast(builder, tmp_path):
    built = builder(100).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    for threat, share in (("transfer", 0.51), ("adaptive", 0.5)):
        built.sweep("net", "ppa", threat, "FGSM", {0: 1.0, 0.1: share})
    folder = built.write(tmp_path / "run")
    (folder / "training" / "net--ppa.csv").write_text("epoch,loss,probe\n1,0.123456789,\n")
    text = Page(draw_report(folder)[-1].read_text()).text
    assert "nothing clear (+1.0 points) against an attacker who ignores it and nothing clear (+0.0) against one" in text
    assert "net, PPA: epoch 1, loss 0.1235 (last epoch)" in text  # the probe was not measured then


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"a": {"b": 0.29586962905026026, "c": None}}, [("a.b", "0.29587")]),
        ({"eps": [0.1, 8 / 255], "on": True, "n": 12345678}, [("eps", "0.1, 0.0313725"), ("on", "True"), ("n", "12345678")]),
    ],
)
def test_numbers_have_the_digits_anyone_reads(settings, rows):
    assert flat(settings) == rows


def test_tables_hold_the_records(page):
    cells = page.text
    for right in (49, 21, 27, 11):  # of 50, at ε = 0, 0.025, 0.05 and 0.3
        low, high = wilson(right, 50)
        assert f"{2 * right}.0% [{100 * low:.1f}, {100 * high:.1f}]" in cells
    low, high = wilson(48, 50)
    assert f"96.0% [{100 * low:.1f}, {100 * high:.1f}]" in cells  # called the target under DGSM at ε = 0.008
    assert "0.025 (6.38/255)" in cells and "adaptive, n = 50" in cells and "transfer, n = 50" in cells


def test_paired_tests_say_whether_a_defense_is_better(page):
    """The paper's curve at ε = 0.025: 42 % undefended; PPA 86 % in transfer, 10 % adaptive; of 50 images."""
    text = page.text.replace("\xa0", " ")
    assert "Is it really better than no defense?" in text
    assert re.search(r"PPA undefended transfer 50 \+44\.0 points \[\+29\.1, \+56\.2\] 22 / 0 < 0\.001 < 0\.001 better", text)
    assert re.search(r"PPA undefended adaptive 50 −32\.0 points \[[^]]+\] 0 / 16 < 0\.001 < 0\.001 worse", text)


def test_what_n_images_cannot_show_is_said(builder, tmp_path):
    built = builder(50).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 0.62}, draws=8)  # 6 gained: p = 2/64, not of two tests
    built.sweep("net", "ppa", "adaptive", "FGSM", {0: 1.0, 0.1: 0.5}, draws=8)
    built.parts[-1]["correct"] = np.arange(50) < 40  # 15 gained
    folder = built.write(tmp_path / "run")
    text = Page(draw_report(folder)[-1].read_text()).text
    assert re.search(r"transfer 50 \+12\.0 points \[\S+ \S+\] 6 / 0 0\.031 0\.031 better", text) and "p of 2 tests" in text
    built.parts[-1]["correct"] = np.linspace(0, 1, 50).round(1)
    text = Page(draw_report(built.write(tmp_path / "noisy"))[-1].read_text()).text
    assert "0.031 0.062 no difference that 50 images can show" in text
    assert "the exact test by sign flips" in text


def test_classes_stand_weakest_first(builder, tmp_path):
    built = builder(50).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.parts[1]["correct"] = np.where(built.labels == 2, 0.0, np.where(built.labels == TARGET, 0.5, 1.0))
    table = class_table(read_run(built.write(tmp_path / "run")), "net", 0.1)
    assert table.columns == [("undefended", "clean"), ("undefended", "white-box")]
    assert [name for name, _, _ in table.rows] == ["cassette player", "English springer", "tench"]
    assert [n for _, n, _ in table.rows] == [int((built.labels == label).sum()) for label in (2, TARGET, 0)]
    assert [points[1].value for *_, points in table.rows] == [0.0, 0.5, 1.0]
    assert class_table(read_run(tmp_path / "run"), "net", None) is None


def test_the_tables_have_captions(drawn_run):
    html = (drawn_run / "report.html").read_text()
    assert html.count("<table") == html.count("<caption>") and "Accuracy by class at ε = 0.025, weakest first" in html


def test_claims_are_on_the_page_with_their_verdicts(drawn_run, page):
    claims = json.loads((drawn_run / "claims.json").read_text())
    assert [row["id"] for row in claims] == ["C1", "C2", "C3", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12"]
    for row in claims:
        assert row["claim"] in page.text and row["measured"] in page.text and row["why"] in page.text
        assert row["verdict"] in ("reproduced", "partly", "not reproduced", "not tested")
    assert "falls when the attacker knows it" in page.text
    folded = re.findall(r'<details class="claim" id="(C\d+)">', (drawn_run / "report.html").read_text())
    assert folded == [row["id"] for row in claims]


TOLD = [
    "escrime run synthetic",
    "Test CPU, 2 cores",
    "torch 2.15.0",
    "Python 3.12.1",
    "2026-01-02 03:04 UTC",
    "0123456789ab",
    "abc123",
    "train 12 s",
    "sweeps 1 min 15 s",
    "in all 1 min 28 s",
    "attacks.DGSM.steps 20",
    "accuracy 0.93",
]


@pytest.mark.parametrize("words", TOLD)
def test_how_it_was_measured_is_told(page, words):
    assert words in page.text


def test_no_hole_shows_as_none_or_nan(page):
    assert "None" not in page.text and "nan" not in page.text.lower().split()


def test_unverified_rows_are_reported(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.parts[1]["verified"] = [True] * 17 + [False] * 3
    text = Page((draw_report(built.write(tmp_path / "run"))[-1]).read_text()).text
    assert "17 of 20 attacked images" in text and "the other 3 are counted as not attacked" in text


def test_a_manifest_without_details_still_reports(builder, tmp_path):
    folder = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5}).write(tmp_path / "run")
    (folder / "manifest.json").write_text("{}")
    draw_report(folder)
    text = Page((folder / "report.html").read_text()).text
    assert "takes net from 100.0% to 50.0% correct" in text and "None" not in text


def test_an_attack_that_takes_nothing_is_said_to_leave_it(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 0.95, 0.1: 0.95})
    text = Page((draw_report(built.write(tmp_path / "run"))[-1]).read_text()).text
    assert "One gradient step of ε = 0.1 (FGSM) leaves net at 95.0% correct" in text


def test_the_headline_eps_of_the_experiment_is_used(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.9, 0.2: 0.4, 0.3: 0.1})
    folder = built.write(tmp_path / "run")
    draw_report(folder)
    assert "ε = 0.2 (FGSM)" in (folder / "report.html").read_text()  # the first that takes half of the accuracy
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["experiment"]["headline_eps"] = 0.11
    (folder / "manifest.json").write_text(json.dumps(manifest))
    draw_report(folder)
    assert "ε = 0.1 (FGSM)" in (folder / "report.html").read_text()


def test_in_l2_no_gray_levels_are_spoken_of(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.6: 0.5})
    built.sweep("net", "none", "white-box", "PGD", {0: 1.0, 0.6: 0.4})
    for part in built.parts:
        part["norm"] = np.full(20, "l2")
    folder = built.write(tmp_path / "run")
    draw_report(folder)
    page = (folder / "report.html").read_text()
    text = Page(page).text
    assert "One gradient step of ε = 0.6 in l2 (FGSM)" in text and "root of the summed squares" in text
    for document in (page, markdown(read_run(folder))):
        for wrong in ("153/255", "fraction of the color range", "sign of the gradient"):
            assert wrong not in document


def test_a_defense_is_shown_by_its_worst_case_beside_the_first_attack(builder, tmp_path):
    built = builder(20).model("net")
    for attack, bare, defended in (("FGSM", 0.2, 0.7), ("PGD", 0.0, 0.1)):
        built.sweep("net", "none", "white-box", attack, {0: 1.0, 0.1: bare})
        built.sweep("net", "ppa", "adaptive", attack, {0: 1.0, 0.1: defended})
    run = read_run(built.write(tmp_path / "run"))
    tile = next(tile for tile in headline(run, "net", 0.1).tiles if "PPA" in tile.title)
    assert tile.title.startswith("PPA under FGSM")
    assert [number.point.value for number in tile.numbers if number.point] == [0.7, 0.1]
    assert tile.numbers[-1].label == "worst case of all attacks (adaptive)"
    assert tile.numbers[-1].gain.value == pytest.approx(0.1), "against the worst case without it, on the same images"
    sentence = headline(run, "net", 0.1).sentence
    assert "worth +50.0 points against an attacker who knows it, in the worst case of all attacks" in sentence, sentence


def test_the_largest_sentence_is_the_verdict_s_before_any_single_attack_s(builder, tmp_path):
    built = builder(20).model("net")
    for attack, bare, defended in (("FGSM", 0.6, 0.7), ("PGD", 0.1, 0.2)):
        built.sweep("net", "none", "white-box", attack, {0: 1.0, 0.1: bare})
        built.sweep("net", "ppa", "adaptive", attack, {0: 1.0, 0.1: defended})
    folder = built.write(tmp_path / "run")
    draw_report(folder)
    said = re.search(r'<p class="sentence">(.*?)</p>', (folder / "report.html").read_text(), re.S)[1]
    assert said.startswith("net keeps 10.0% [2.8, 30.1] of 20 images right at ε = 0.1 in the worst case (not as it stands), ")
    assert "with PPA 20.0%" in said
    assert said.index("worst case") < said.index("FGSM")
    titles = [tile.title for tile in headline(read_run(folder), "net", 0.1).tiles]
    assert titles[1].startswith("worst case") and titles[2].startswith("FGSM")


def test_a_model_that_was_attacked_at_another_budget_is_not_called_unattacked(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    run = read_run(built.write(tmp_path / "run"))
    assert headline(run, "net", 0.3).sentence == "net was not attacked at ε = 0.3 without a defense."
    assert headline(run, "other", 0.3).sentence == "other was not attacked without a defense."


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.0, "100.0%"), (0.9998, "> 99.9%"), (0.9994, "99.9%"), (0.0, "0.0%"), (0.0002, "< 0.1%"), (0.0006, "0.1%")],
)
def test_nearly_all_is_not_all(value, said):
    assert percent(value) == said


def test_drawing_again_replaces_and_clears(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    folder = built.write(tmp_path / "run")
    first = draw_report(folder)
    (folder / "figures" / "fig5-net.png").write_bytes(b"of an earlier run")
    (folder / "figures" / "notes.txt").write_text("the user's own")
    steps = []
    assert draw_report(folder, progress=lambda done, total: steps.append((done, total))) == first
    assert all(path.exists() for path in first) and first[-1] == folder / "report.html"
    assert sorted(p.name for p in (folder / "figures").iterdir()) == ["fig3-net.png", "fig3-net.svg", "notes.txt"]
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_failure_leaves_the_old_report(drawn_run, monkeypatch):
    before = {path: path.read_bytes() for path in drawn_run.rglob("*") if path.is_file()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(escrime.report.draw, "render_page", full)
    with pytest.raises(escrime.report.draw.EscrimeError, match="No space left"):
        draw_report(drawn_run)
    assert {path: path.read_bytes() for path in drawn_run.rglob("*") if path.is_file()} == before


def test_no_model_code_is_imported():
    """The report room asks for no torch and no room that holds models: it works from records alone."""
    found = set()
    for path in Path(escrime.report.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add("." * node.level + (node.module or ""))
    assert "matplotlib" in {name.split(".")[0] for name in found} and "..results.records" in found
    assert not {"torch", "torchvision"} & found
    assert not [
        name
        for name in found
        if re.search(r"(?:^|\.\.)(models|training|defenses|data|attacks|evaluation|commands|cli)(\.|$)", name)
    ]


def test_two_defenses_at_once_are_compared_with_each(builder, tmp_path):
    """Alone 60 and 70 % of 50 are right, together 90 %; under every attack 60, 70 and 72 %."""
    built = builder(50).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.2})
    for defense, share in (("ppa", 0.6), ("adversarial-training", 0.7), ("adversarial-training+ppa", 0.9)):
        built.sweep("net", defense, "adaptive", "FGSM", {0: 1.0, 0.1: share})
    built.sweep("net", "adversarial-training+ppa", "adaptive", "stronger", {0.1: 0.72})
    folder = built.write(tmp_path / "run")
    text = Page(draw_report(folder)[-1].read_text()).text.replace("\xa0", " ")
    together = r"adversarial training \+ PPA"
    assert re.search(together + r" PPA adaptive 50 \+30\.0 points \[[^]]+\] 15 / 0", text)
    assert re.search(together + r" adversarial training adaptive 50 \+20\.0 points \[[^]]+\] 10 / 0", text)
    assert re.search(together + r" adversarial training adaptive, worst case 50 \+2\.0 points \[[^]]+\] 1 / 0", text)
    assert re.search(together + r" undefended adaptive, worst case 50 \+52\.0 points", text)


def test_pictures_that_were_left_out_are_named(builder, tmp_path, escrime):
    folder = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5}).write(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["dataset"]["left_out"] = {"cat/<1>.heic": ".heic is a format that is not read here.", "a|b": "empty"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    text = Page(draw_report(folder)[-1].read_text()).text
    assert "2 left out: cat/<1>.heic (.heic is a format that is not read here); a|b (empty)." in text
    said = escrime("report", folder, "--format", "md")[1]
    assert "; 2 left out: cat/" in said and "a\\|b" in said


@pytest.mark.parametrize(
    ("test", "finding", "said"),
    [
        (40, [], "n = 40</dd>"),
        (60, [], 'n = 40 of 60 <span class="facts">the others were not attacked</span>'),
        (60, ["budget"], 'n = 40 of 60 <span class="facts">there was no time for the others; the same command goes on</span>'),
    ],
)
def test_why_fewer_images_were_attacked_than_there_are(test, finding, said, builder, tmp_path):
    folder = builder(40).model("m").sweep("m", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5}).write(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["dataset"]["test"] = test
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "checks.json").write_text(json.dumps([Finding(id, "note", "left open").as_dict() for id in finding]))
    draw_report(folder)
    assert said in (folder / "report.html").read_text()
