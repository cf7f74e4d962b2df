"""`escrime evaluate` on a model that carries its defense: judged by who knows it, with pictures of that."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from escrime.cli import app
from escrime.evaluation import read_records

pytestmark = pytest.mark.slow

MINE = """
import escrime

def load():
    network = escrime.build("lenet", 3, weights={weights!r})
    return escrime.PredictionAveraging(network, eps_max=0.1, samples=2)
"""


def test_a_defended_model_has_its_page_and_pictures(weights, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE.format(weights=weights.partition("@")[2]))
    asked = ["--model", "mine.py:load", "--data", str(pictures), "--size", "8", "--limit", "12", "--attack", "FGSM"]
    result = CliRunner().invoke(app, ["evaluate", *asked, "--eps", "0.1", "--out", "run", "--device", "cpu"])
    assert result.exit_code == 0, (result.output, result.exception)
    records = read_records("run")
    assert set(records.threat) == {"adaptive", "transfer"} and set(records.defense) == {"ppa"}
    assert "adaptive" in result.output and (tmp_path / "run" / "report.html").exists()
    (listing,) = (tmp_path / "run" / "examples").glob("*.json")
    shown = json.loads(listing.read_text())
    assert shown and {facts["threat"] for facts in shown} == {"adaptive"}
    assert len(np.load(listing.with_suffix(".npz")).files)
