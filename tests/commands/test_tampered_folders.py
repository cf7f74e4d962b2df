"""Run folders that a stranger changed: whatever was done, one sentence and nothing outside the folder touched."""

import shutil
import signal
from pathlib import Path
from random import Random

import pytest

from escrime import cli
from escrime.commands.run.checking import finish_checks
from escrime.commands.shared.folder import RunFolder
from tests.report.conftest import RunBuilder, add_examples, add_slider, add_surfaces
from tests.tampering import state, tamper

SECONDS = 60  # the slowest of these commands takes a few
SMALL, MIDDLE, LARGE = 16, 20, 500  # tampered folders for each command


COMMANDS = pytest.mark.parametrize(
    "words", [("report", None), ("report", None, "--format", "md", "--strict"), ("compare", None, None)]
)


def with_other(words: tuple, other: Path) -> tuple:
    """The words of a command; what is compared with the tampered folder is `other`."""
    return (*words[:2], other) if words[0] == "compare" else words


def undrawn_figures(run, folder: Path, *_, **__) -> list:
    """In place of `draw_figures`, which takes ten times as long as all the rest."""
    folder.mkdir(parents=True)
    return []


class Hung(BaseException):
    """What no handler of errors takes for one of its own."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A small run folder with every kind of file, its records made up."""
    built = RunBuilder(6).model("net", "googlenet")
    built.sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5, 0.2: 0.2})
    built.sweep("net", "ppa", "adaptive", "DGSM", {0: 0.0, 0.1: 0.5}, draws=8)
    for add in (add_examples, add_slider, add_surfaces):
        add(built, "net")
    folder = built.write(tmp_path_factory.mktemp("recorded") / "run")
    finish_checks(RunFolder(folder), [], {"linf": 0.1})
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """The command line called with words: (exit code, what it complained of); a call that hangs is ended."""

    def ended(*_):
        raise Hung

    def run(*words):
        monkeypatch.setattr("sys.argv", ["escrime", *map(str, words)])
        before = signal.signal(signal.SIGALRM, ended)
        signal.alarm(SECONDS)
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def survives(call, tmp_path):
    """Call a command on tampered copies of a folder, one per seed, and look at what came of it."""
    root, sentinel = tmp_path / "tampered" / "run", tmp_path / "sentinel"
    (sentinel / "folder").mkdir(parents=True)
    for name in ("keep.txt", "folder/fig1-net.png", "folder/a.parquet"):
        (sentinel / name).write_text("keep")
    before = state(sentinel)

    def check(folder: Path, seeds: range, *words) -> int:
        refused = 0
        for seed in seeds:
            shutil.rmtree(root.parent, ignore_errors=True)
            shutil.copytree(folder, root)
            done = tamper(root, sentinel, Random(seed))
            code, said = call(*(root if word is None else word for word in words))
            about = f"seed {seed}, {done}: exit code {code}, {said}"
            assert code in (0, 2, 3, 4), about
            assert "defect of escrime" not in said and "Traceback" not in said, about
            assert code != 2 or said.count("error: ") == 1, about
            assert state(sentinel) == before, about
            left = [p.name for p in root.rglob("*") if p.name.endswith(".partial") or p.name.startswith(".report-")]
            assert not left, f"{about}, left {left}"
            refused += code == 2
        return refused

    return check


@pytest.mark.parametrize("words", [("report", None, "--format", "json"), ("report", None, "--format", "md", "--strict")])
def test_reports_of_tampered_folders(recorded, survives, words):
    seeds = range(0, SMALL) if "json" in words else range(SMALL, SMALL + SMALL // 3)
    assert survives(recorded, seeds, *words) > len(seeds) // 8


def test_pages_of_tampered_folders(recorded, survives, monkeypatch):
    monkeypatch.setattr("escrime.report.draw.draw_figures", undrawn_figures)
    assert survives(recorded, range(1000, 1000 + SMALL // 2), "report", None) > 0


def test_comparisons_with_tampered_folders(recorded, survives):
    assert survives(recorded, range(2000, 2000 + SMALL // 2), "compare", None, recorded) > 0


@pytest.mark.slow
@COMMANDS
def test_other_tampered_folders(recorded, survives, words, monkeypatch):
    monkeypatch.setattr("escrime.report.draw.draw_figures", undrawn_figures)
    survives(recorded, range(9000, 9000 + MIDDLE), *with_other(words, recorded))


@pytest.mark.long
@pytest.mark.timeout(3000)
@COMMANDS
def test_many_tampered_folders(recorded, survives, words, monkeypatch):
    monkeypatch.setattr("escrime.report.draw.draw_figures", undrawn_figures)
    survives(recorded, range(5000, 5000 + LARGE), *with_other(words, recorded))


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_figures_of_tampered_folders(recorded, survives):
    survives(recorded, range(5000, 5000 + LARGE // 5), "report", None)


@pytest.mark.long
@pytest.mark.timeout(6000)
@pytest.mark.usefixtures("quick_checks", "undrawn")
def test_evaluations_continued_in_tampered_folders(weights, pictures, survives, call, tmp_path):
    words = ("evaluate", "--model", weights, "--data", pictures, "--eps", "8/255", "--attack", "FGSM", "--size", 8)
    words += ("--limit", 12, "--device", "cpu", "--out")
    assert call(*words, tmp_path / "first")[0] == 0
    survives(tmp_path / "first", range(100), *words, None)


@pytest.mark.long
@pytest.mark.timeout(6000)
@pytest.mark.usefixtures("undrawn")
def test_runs_continued_in_tampered_folders(tiny, finished, survives):
    survives(finished, range(60), "run", tiny, "--device", "cpu", "--out", None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "at least 1 item"),
        ("{}", "valid list"),
        ("[1]", "valid dictionary"),
        ('[{"believe": true}]', "sentence"),
        ('[{"sentence": "s", "believe": "no"}]', "believe"),
        ('[{"sentence": "fine", "believe": true}]', "says nothing about net"),
        ("[" * 10_000, "nested deeper"),
    ],
)
def test_strict_does_not_believe_an_odd_verdict(recorded, call, tmp_path, content, words):
    shutil.copytree(recorded, tmp_path / "run")
    (tmp_path / "run" / "verdict.json").write_text(content)
    code, said = call("report", tmp_path / "run", "--format", "json", "--strict")
    assert code == 2 and "verdict.json" in said and words in said
