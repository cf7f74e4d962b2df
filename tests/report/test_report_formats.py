"""`escrime report --format`: the same facts as JSON, Markdown and PDF, from the records alone."""

import json
import re
import shutil
import stat
import sys

import pytest

from escrime.commands.report import FORMATS, Format, report_files, report_text
from escrime.errors import EscrimeError
from escrime.report import pdf, read_run
from escrime.report.document import as_document, plain
from escrime.report.markdown import inline, table
from escrime.results.statistics import wilson


@pytest.fixture
def small(builder, tmp_path):
    """A run of one network, with a defense and two attacks, of 40 images."""
    built = builder(40, classes=["a|b", "<b>", "c", "d", "e"]).model("net_1")
    built.sweep("net_1", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net_1", "none", "white-box", "DGSM", {0.1: 0.8})
    built.sweep("net_1", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 0.75})
    return built.write(tmp_path / "run")


def fake_browser(folder, script: str):
    """A program that stands for Chromium; `printed` is where it is asked to print."""
    program = folder / "chromium"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom urllib.parse import urlparse, unquote\n"
        "printed = next(w.split('=', 1)[1] for w in sys.argv if w.startswith('--print-to-pdf='))\n"
        f"page = open(unquote(urlparse(sys.argv[-1]).path), encoding='utf-8').read()\n{script}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_json_holds_every_number_with_its_count_and_interval(small, escrime):
    before = tree(small)
    code, out, _ = escrime("report", small, "--format", "json")
    assert code == 0 and tree(small) == before, "json and md only read"
    found = json.loads(out)
    assert found["manifest"]["dataset"]["fingerprint"] == "abc123" and found["manifest"]["seed"] == 7
    rows = {(r["defense"], r["threat"], r["attack"], r["eps"]): r for r in found["summary"]}
    row = rows["none", "white-box", "FGSM", 0.1]
    assert (row["n"], row["accuracy"], row["norm"]) == (40, 0.5, "linf")
    assert (row["low"], row["high"]) == pytest.approx(wilson(20, 40))
    # DGSM leaves fewer right than FGSM, on other images: the worst case is below both.
    worst = next(r for r in found["worst_case"] if r["eps"] == 0.1 and r["defense"] == "none")
    assert worst["accuracy"] <= min(row["accuracy"], rows["none", "white-box", "DGSM", 0.1]["accuracy"])
    hit = next(r for r in found["hits"] if r["eps"] == 0.1)
    assert (hit["target"], hit["share"], hit["n"]) == ("<b>", 0.8, 40)
    (test,) = found["tests"]
    assert test["difference"] == 0.25 and test["gained"] == 10 and test["lost"] == 0 and test["p_holm"] == test["p"]
    assert {verdict["defense"] for verdict in found["verdicts"]} == {"none", "ppa"}
    assert found["claims"] and found["checks"] and all(check["severity"] for check in found["checks"])


def test_json_and_page_count_the_same(drawn_run):
    found = as_document(read_run(drawn_run))
    assert found["claims"] == plain(json.loads((drawn_run / "claims.json").read_text()))
    page = (drawn_run / "report.html").read_text()
    for verdict in found["verdicts"]:
        assert f"{verdict['accuracy']:.1%} of {verdict['n']} images" in page


def test_markdown_tables_are_whole_and_names_are_no_markup(small, escrime, tmp_path):
    out = tmp_path / "appendix.md"
    code, said, _ = escrime("report", small, "--format", "md", "--out", out)
    assert code == 0 and str(out) in said
    text = out.read_text()
    assert "| 0.1 (25.5/255) | 50.0 [35.2, 64.8] | 75.0 [59.8, 85.8] |" in text
    assert "% predicted as “\\<b>”" in text and "<b>" not in text.replace("\\<b>", "")
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 5
    for lines in blocks:
        columns = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
        assert len(columns) == 1, lines


def test_text_that_looks_like_markup_stays_text():
    assert inline("a|b <i> *x* `c` $5\nnext") == "a\\|b \\<i> \\*x\\* \\`c\\` \\$5 next"
    assert inline("wide_resnet_small _x_") == "wide_resnet_small \\_x\\_"
    assert inline("![a](http://b.c) www.d.e &lt; R&D x@y") == "!\\[a\\](http\\://b.c) www\\.d.e \\&lt; R&D x\\@y"
    assert inline("0.1 [0.05, 0.21]; lost 5% [-1, +2.5e-3]") == "0.1 [0.05, 0.21]; lost 5% [-1, +2.5e-3]"
    assert inline("[1, 2]: x, 5 [1, 2](http://x)") == "\\[1, 2\\]: x, 5 \\[1, 2\\](http\\://x)"
    assert inline("a\x1b[31m\u202eb") == "a\\\\x1b\\[31m\\\\u202eb"
    assert table(["a"], [["b|c"]]).splitlines()[-1] == "| b\\|c |"


def test_html_goes_to_another_place_too(small, tmp_path):
    files = report_files(small, "html", tmp_path / "elsewhere" / "page.html")
    assert files[-1].read_bytes() == (small / "report.html").read_bytes()


def test_a_pdf_has_all_folds_open_and_figures_as_pdf_beside_it(small, tmp_path, monkeypatch):
    script = "import re\nfolds = re.findall('<details[^>]*>', page)\nassert folds and all(' open' in fold for fold in folds)\n"
    script += "open(printed, 'wb').write(b'%PDF-1.4 page')"
    fake_browser(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    files = report_files(small, "pdf")
    assert files[-1] == small / "report.pdf" and files[-1].read_bytes() == b"%PDF-1.4 page"
    stems = {suffix: {p.stem for p in (small / "figures").glob(f"*.{suffix}")} for suffix in ("svg", "pdf")}
    assert stems["svg"] == stems["pdf"] != set()
    assert all(path.read_bytes().startswith(b"%PDF-") for path in (small / "figures").glob("*.pdf"))
    assert not list(small.glob("printing-*")) and not list(small.glob(".report*"))
    report_files(small, "html")
    assert (small / "report.pdf").exists() and list((small / "figures").glob("*.pdf")), "the page is the same"
    manifest = json.loads((small / "manifest.json").read_text())
    (small / "manifest.json").write_text(json.dumps(manifest | {"title": "Another page"}))
    report_files(small, "html")  # a page of newer records must not lie beside an older PDF
    assert not list(small.rglob("*.pdf"))


@pytest.mark.parametrize(
    ("script", "said"),
    [("sys.exit('no screen today')", "no screen today"), ("open(printed, 'w').write('<html>')", "exit code 0")],
)
def test_a_browser_that_fails_leaves_the_older_pdf(script, said, small, tmp_path, monkeypatch):
    fake_browser(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    page, out = tmp_path / "page.html", tmp_path / "kept" / "report.pdf"
    page.write_text("<p>hello</p>")
    out.parent.mkdir()
    out.write_bytes(b"older")
    with pytest.raises(EscrimeError, match=said):
        pdf.print_pdf(page, out)
    assert out.read_bytes() == b"older" and [path.name for path in out.parent.iterdir()] == ["report.pdf"]


def test_a_browser_that_hangs_is_ended(tmp_path, monkeypatch):
    fake_browser(tmp_path, "import time; time.sleep(60)")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(pdf, "PATIENCE", 1)
    (tmp_path / "page.html").write_text("")
    with pytest.raises(EscrimeError, match="nothing in 1 s"):
        pdf.print_pdf(tmp_path / "page.html", tmp_path / "out.pdf")


def test_without_chromium_nothing_is_drawn_and_the_remedy_is_said(small, escrime, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    before = tree(small)
    code, _, said = escrime("report", small, "--format", "pdf")
    assert code == 2 and "chromium" in said and "--format html or md" in said and tree(small) == before


@pytest.mark.skipif(not any(map(shutil.which, pdf.BROWSERS)), reason="no Chromium is installed on this machine")
def test_the_installed_chromium_prints_a_page(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><meta charset=utf-8><details><summary>more</summary><p>ε = 0.1</details>")
    assert pdf.print_pdf(page, tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "docx"), "is unknown; use one of html, md, json, junit, sarif, pdf"),
        (("--format", "jsn"), "Did you mean 'json'"),
    ],
)
def test_an_unknown_format_is_one_sentence(words, said, small, escrime):
    code, _, err = escrime("report", small, *words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1


def test_each_format_is_one_entry_of_the_table(small, escrime, monkeypatch):
    """From it come the help, the choices and the work."""
    code, out, _ = escrime("report", "--help")
    assert code == 0 and all(
        f"{name} ({format.what})" in " ".join(re.sub("[│|]", " ", out).split()) for name, format in FORMATS.items()
    )
    monkeypatch.setitem(FORMATS, "count", Format("rows", text=lambda run, gate: f"{len(run.records)} rows, gate {gate}\n"))
    code, out, _ = escrime("report", small, "--format", "count")
    assert (code, out) == (0, f"{40 * 5} rows, gate None\n")
    code, _, said = escrime("report", small, "--format", "conut")
    assert code == 2 and "sarif, pdf, count" in said
    assert all((format.text is None) != (format.files is None) for format in FORMATS.values())
    for other, format in ((report_text, "pdf"), (report_files, "md")):
        with pytest.raises(EscrimeError, match=f"--format {format}"):
            other(small, format)


@pytest.mark.parametrize("format", ["md", "json"])
def test_a_folder_that_is_no_run_is_named(format, tmp_path):
    with pytest.raises(EscrimeError, match="nowhere"):
        report_text(tmp_path / "nowhere", format)


NAMES = [
    "![x](http://evil.example/a.png)",
    "[click](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "a\x1b]0;owned\x07",
    "b\u202ec",
]


def test_a_strangers_names_are_no_markup_and_command_no_terminal(builder, escrime, tmp_path):
    """Whatever a manifest says, in Markdown, in JSON and on the page."""
    built = builder(40, classes=NAMES).model("net_1")
    built.sweep("net_1", "none", "white-box", "DGSM", {0: 0.0, 0.1: 0.8})
    folder = built.write(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {
        "title": NAMES[1] + "\n# two",
        "command": "escrime `run`\n\n![x](http://evil.example)",
        "commit": NAMES[2],
        "created": NAMES[0],
    }
    manifest["hardware"] = {"cpu": "\x9b31m" + NAMES[2], "device": NAMES[0]}
    manifest["dataset"] |= {"name": NAMES[1], "left_out": {NAMES[0]: NAMES[2] + "\x1b[2J"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, text, _ = escrime("report", folder, "--format", "md")
    assert code == 0 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"(?<!\\)(<\w|\]\(|!\[|(?<!\\):(?=//))", outside), outside
    assert "\n# two" not in text and text.count("\n# ") == 0
    code, text, _ = escrime("report", folder, "--format", "json")
    assert code == 0 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert json.loads(text)["manifest"]["title"] == manifest["title"]
    assert escrime("report", folder)[0] == 0
    page = (folder / "report.html").read_text()
    assert "<img src=x" not in page and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert 'href="javascript' not in page and "evil.example" in page


@pytest.mark.parametrize("user", [0, 1000])
def test_a_pdf_is_printed_without_scripts_network_and_where_it_can_in_the_sandbox(user, small, tmp_path, monkeypatch):
    script = "open(printed + '.told', 'w').write('\\n'.join(sys.argv))\nimport shutil\n"
    script += f"shutil.copy(printed + '.told', {str(tmp_path / 'told')!r})\nopen({str(tmp_path / 'page')!r}, 'w').write(page)\n"
    fake_browser(tmp_path, script + "open(printed, 'wb').write(b'%PDF-1.4 page')")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: user)
    report_files(small, "pdf")
    told = (tmp_path / "told").read_text().splitlines()
    assert ("--no-sandbox" in told) == (user == 0) and "--host-resolver-rules=MAP * ~NOTFOUND" in told
    assert any(word.startswith("--proxy-server=") for word in told)
    head = (tmp_path / "page").read_text().partition("<head>")[2].lstrip()
    assert head.startswith("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'none'; ")


def test_a_model_that_a_strangers_run_names_is_not_loaded(small, escrime, tmp_path, monkeypatch):
    """Neither by a report nor by a comparison, whatever lies there under its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\ndef load():\n    pass\n")
    manifest = json.loads((small / "manifest.json").read_text())
    manifest["models"]["net_1"]["arch"] = "evil.py:load"
    manifest["experiment"]["model"] = "evil.py:load"
    (small / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy("evil.py", small / "evil.py")
    for words in (("report", small), ("report", small, "--format", "md"), ("compare", small, small)):
        assert escrime(*words)[0] in (0, 2)
    assert not (tmp_path / "ran").exists() and "evil" not in sys.modules
