"""The page of all threats: what is kept of a run is what it measured, and the committed page what the script makes of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.threats import page
from tests.report.conftest import RunBuilder

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.fixture
def folder(tmp_path):
    built = RunBuilder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 0.9, 4 / 255: 0.5})
    built.sweep("net", "none", "white-box", "Patch", {5.0: 0.2})
    built.parts[-1]["norm"] = np.broadcast_to("patch", 20)
    built.sweep("net", "none", "white-box", "fog", {3.0: 0.7})
    built.parts[-1]["norm"] = np.broadcast_to("corruption", 20)
    path = built.write(tmp_path / "run")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["models"]["net"]["weights"] = "abc"
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_each_threat_and_the_choice_among_them(folder, tmp_path):
    (tmp_path / "threats").mkdir()
    page.keep(folder, tmp_path / "threats" / "net.json", "A network", "trained")
    text = page.write_page(tmp_path).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[:2] == ["| threat | A network, trained (n = 20) |", "| --- | --- |"]
    assert "| none (clean) | 90.0 [69.9, 97.2] |" in lines
    of = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1] for line in lines[3:7]}
    assert of["l_inf, ε = 4/255"].startswith("50.0 [") and of["patch, ε = 5"].startswith("20.0 [")
    assert of["corruption, ε = 3"].startswith("70.0 [") and of["any of them"].startswith("20.0 ["), (
        "the first images fall to all"
    )
    assert "not believed" in of["patch, ε = 5"], "nobody has examined it"
    assert "mean error 30.0 %" in text and "weights `abc`" in text and "escrime run synthetic" in text


def test_a_run_of_one_threat_is_refused(tmp_path):
    built = RunBuilder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 0.9, 0.1: 0.5})
    with pytest.raises(SystemExit, match="holds 0 unions"):
        page.keep(built.write(tmp_path / "run"), tmp_path / "x.json", "a", "b")


def test_the_committed_page_is_the_script_s(tmp_path):
    (tmp_path / "threats").mkdir()
    for path in (RESULTS / "threats").glob("*.json"):
        (tmp_path / "threats" / path.name).write_bytes(path.read_bytes())
    assert page.write_page(tmp_path).read_text("utf-8") == (RESULTS / "threats.md").read_text("utf-8")
