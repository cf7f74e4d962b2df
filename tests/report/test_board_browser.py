"""board.html in real headless Chromium: it sorts and filters by pointer and keyboard, fits every width, asks for nothing."""

import json
import sys
from pathlib import Path

import axe_core_python
import pytest

from escrime.report.board import read_board, run_folders
from escrime.report.board_page import render_board

sys.path.insert(0, str(Path(__file__).parent))
from chromium import Chromium, find_chromium  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed to open the page with"),
]
ROWS = ".group tbody tr:not([hidden])"
LONG = "a-network-with-a-name-that-nobody-reads-" * 3


@pytest.fixture(scope="module")
def board(builder, tmp_path_factory):
    """Three models at one ε, one of them in two runs, and one that was left out."""
    folder = tmp_path_factory.mktemp("board")
    runs = {"a": ("net", 0.5), "b": ("net", 0.2), "c": ("<b>bold", 0.9), "d": (LONG, 0.4), "e": ("net", 0.1)}
    for month, (name, (model, share)) in enumerate(runs.items(), 1):
        built = builder(40).model(model).sweep(model, "none", "white-box", "PGD", {0: 1.0, 0.1: share})
        path = built.write(folder / name)
        manifest = json.loads((path / "manifest.json").read_text()) | {"created": f"2026-0{month}-01T00:00:00Z"}
        (path / "manifest.json").write_text(json.dumps(manifest))
        looked = {"id": "attack-strength", "severity": "passed", "message": "nothing", "model": model, "defense": "none"}
        (path / "checks.json").write_text(json.dumps([looked] if name != "c" else []))
        (path / "verdict.json").write_text(
            json.dumps([{"sentence": "Done.", "believe": True, "model": model, "defense": "none"}])
        )
    (folder / "e" / "verdict.json").unlink()
    (folder / "board.html").write_text(render_board(read_board(run_folders([folder])), folder / "board.html"))
    return folder / "board.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Chromium(find_chromium(), tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def page(browser, board):
    browser.open(board)
    yield browser
    assert browser.errors == []
    assert [address for address in browser.requests if not address.startswith("data:")] == [board.resolve().as_uri()]


def shares(page) -> list[str]:
    return page.js(f"[...document.querySelectorAll('{ROWS}')].map(row => row.cells[1].querySelector('strong').textContent)")


def test_heads_sort_by_pointer_and_by_keyboard_and_say_so(page):
    assert shares(page) == ["50.0%", "40.0%", "20.0%", "90.0%"]  # what is not believed stands last
    page.click('th[data-key="robust"] button')
    assert shares(page) == ["90.0%", "50.0%", "40.0%", "20.0%"]
    assert page.js("document.querySelector('th[data-key=robust]').getAttribute('aria-sort')") == "descending"
    page.js("document.querySelector('th[data-key=robust] button').focus()")
    page.key(" ")
    assert shares(page) == ["20.0%", "40.0%", "50.0%", "90.0%"]
    assert page.js("document.querySelector('th[data-key=robust]').getAttribute('aria-sort')") == "ascending"
    page.click('th[data-key="date"] button')
    assert shares(page) == ["50.0%", "20.0%", "90.0%", "40.0%"]
    assert page.js("document.querySelectorAll('[aria-sort]').length") == 1


def test_words_and_boxes_choose_rows_and_curves(page):
    type_in = "((e, t) => { e.value = t; e.dispatchEvent(new Event('input', {bubbles: true})); })"
    page.js(f"{type_in}(document.querySelector('[name=words]'), 'NET undefended 2026-02')")
    assert shares(page) == ["20.0%"] and page.js("document.querySelector('#count').textContent") == "1 of 4 rows"
    page.js(f"{type_in}(document.querySelector('[name=words]'), 'bold')")
    assert shares(page) == ["90.0%"] and page.js("document.querySelector('.curve').hidden")
    page.js(f"{type_in}(document.querySelector('[name=words]'), '')")
    page.click("[name=believe]")
    assert shares(page) == ["50.0%", "40.0%", "20.0%"]
    page.click("[name=newest]")
    assert shares(page) == ["40.0%", "20.0%"] and not page.js("document.querySelector('.curve').hidden")


@pytest.mark.parametrize("width", [390, 768, 1024, 1280, 1920])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_axe_finds_no_violation(width, dark, browser, board):
    browser.open(board, width=width, dark=dark)
    assert browser.js("document.documentElement.scrollWidth <= innerWidth")
    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
    browser.js(axe + "; 1")
    found = browser.js(
        "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).slice(0, 3).join(' ')))"
    )
    assert found == []


def test_without_javascript_the_tables_stand(browser, board):
    browser.open(board, script=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.js(f"document.querySelectorAll('{ROWS}').length") == 4
    assert browser.js("getComputedStyle(document.querySelector('#filter')).display") == "none"
