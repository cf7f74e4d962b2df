"""The documentation: links lead somewhere, commands exist, code runs, and the site builds without a warning."""

import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import escrime
from escrime.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OUTSIDE = [ROOT / f"{page}.md" for page in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
FENCE = re.compile(r"^```(\w*)[ \t]*([^\n]*)\n(.*?)^```", re.M | re.S)
name = lambda path: str(path.relative_to(ROOT))  # noqa: E731


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(what stands behind the language, the text) of each block of a page."""
    return [(more, text) for found, more, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=name)
def test_each_relative_link_exists(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{name(page)} links to {link}, which does not exist"
        assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}, a heading that does not exist"


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=name)
def test_each_command_is_one(page):
    """Each `escrime` line is parsed by the command line itself, without running it: a renamed option fails here."""
    commands = typer.main.get_command(app).commands
    for language, _, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in ("", "yaml"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.split(" #")[0].partition(" | ")[0].partition(" > ")[0]) if "escrime " in line else []
            start = next((i for i, word in enumerate(words) if word == "escrime" and words[i + 1 : i + 2]), None)
            if start is None or not (start == 0 or words[start - 1] in ("run", "-m")) or "…" in line:
                continue
            command, *rest = words[start + 1 :]
            assert command in commands, f"{name(page)}: {line}"
            commands[command].make_context(command, rest)


def test_the_tables_are_those_that_the_code_makes():
    code = runpy.run_path(str(DOCS / "tables.py"))
    pages = [ROOT / page for page in code["PAGES"]]
    holding = [page for page in [*PAGES, ROOT / "README.md"] if "<!-- table: " in page.read_text(encoding="utf-8")]
    assert sorted(pages) == sorted(holding)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text == code["written"](text), f"{name(page)} is not what the code makes; run: python docs/tables.py"


def test_type_checkers_are_told_of_the_attacks_that_are_found():
    code = runpy.run_path(str(DOCS / "tables.py"))
    told = (ROOT / code["STUB"]).read_text(encoding="utf-8")
    assert told == code["attack_stub"](), "found.pyi is not what the code makes; run: python docs/tables.py"


def test_the_reference_holds_every_public_name():
    shown = re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(), re.M)
    for path in shown:
        module, _, attribute = path.rpartition(".")
        assert getattr(importlib.import_module(module), attribute) is getattr(escrime, attribute), path
    assert sorted(path.rpartition(".")[2] for path in shown) == sorted(set(escrime.__all__) - {"__version__"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """Top to bottom in one namespace; a block with a title is a file that later ones import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    space = {"__name__": "page"}
    for more, text in blocks(page, "python"):
        title = re.search(r'title="([^"]+)"', more)
        if title:
            (tmp_path / title[1]).write_text(text)
            monkeypatch.delitem(sys.modules, Path(title[1]).stem, raising=False)
        exec(compile(text, name(page), "exec"), space)  # noqa: S102


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(what the build said, the folder of the site)."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="the extra `docs` is not installed: pip install '.[docs]'")
    site = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    # Material announces its successor on every build unless told not to.
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet, timeout=250), site


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(built):
    done, site = built
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        fetched = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="?(https?://[^">\s]+)', page.read_text(encoding="utf-8"))
        assert not fetched, f"{page.name} fetches {fetched}"


@pytest.fixture
def browser(tmp_path):
    sys.path.insert(0, str(ROOT / "tests" / "report"))
    chromium = importlib.import_module("chromium")
    if chromium.find_chromium() is None:
        pytest.skip("no Chromium is installed to open the site with")
    found = chromium.Chromium(chromium.find_chromium(), tmp_path)
    yield found
    found.close()


@pytest.mark.slow
def test_the_search_works_where_the_site_is_opened_from_a_folder(built, browser):
    browser.open(built[1] / "how-to" / "ci.html")
    type_in = "q.value = 'prediction averaging'; q.dispatchEvent(new Event('input', {bubbles: true}))"
    type_in += "; q.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}))"
    box = "document.querySelector('[data-md-component=search-query]')"
    browser.js(f"document.querySelector('[data-md-toggle=search]').click(); (q => {{ q.focus(); {type_in} }})({box})")
    items = "document.querySelectorAll('.md-search-result__item').length"
    shown = (
        f"new Promise(done => {{ const look = n => {items} || !n ? done({items}) : setTimeout(look, 100, n - 1); look(200) }})"
    )
    assert browser.js(shown) > 1
    assert browser.errors == [] and not [address for address in browser.requests if address.startswith("http")]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["results/paper.html", "results/ppa.html", "how-to/defense.html"])
def test_no_code_and_no_table_is_cut(page, built, browser):
    browser.open(built[1] / page)
    cut = "[...document.querySelectorAll('pre code, .md-typeset__scrollwrap')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert browser.js(f"{cut}.map(e => e.textContent.trim().slice(0, 60))") == []
