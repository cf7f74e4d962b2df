"""`escrime evaluate --budget`: kept, said, continued, and nothing half-written."""

import json

import pandas as pd
import pytest
import torch

from escrime import EscrimeError
from escrime.commands.evaluate.assessment import assess
from escrime.commands.evaluate.request import Request
from escrime.commands.evaluate.result import result, show
from escrime.evaluation import Effort, read_records
from escrime.models import deadline

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

CPU = torch.device("cpu")
KEYS = ["attack", "eps", "image"]

SLOW = """
import torch
from escrime.models import deadline, load_model

class Slow(torch.nn.Module):
    size, classes = 8, ("ant", "bee", "cat")

    def __init__(self):
        super().__init__()
        self.network = load_model("WEIGHTS").model

    def forward(self, x):
        deadline._now.now += 0.01 * len(x)
        return self.network(FIRST)
"""


class Clock:
    """Time that only a slow model makes pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(deadline, "_now", clock)
    return clock


@pytest.fixture
def slow(weights, tmp_path, clock):
    (tmp_path / "slow.py").write_text(SLOW.replace("WEIGHTS", weights).replace("FIRST", "x"))
    return f"{tmp_path / 'slow.py'}:Slow"


@pytest.fixture
def masked(weights, tmp_path, clock):
    """One that hides its gradients, so that a stronger attack is called for on every image."""
    (tmp_path / "masked.py").write_text(SLOW.replace("WEIGHTS", weights).replace("FIRST", "(x * 64).round() / 64"))
    return f"{tmp_path / 'masked.py'}:Slow"


def run(model, pictures, out, attacks=("FGSM", "PGD"), **more):
    return assess(Request(model, str(pictures), ("0.05",), attacks=attacks, **more), out, device=CPU, quiet=True)


def rows(out):
    """But for what an image cost: how often the original is asked beside its copy depends on what was asked before."""
    return read_records(out).sort_values(KEYS, ignore_index=True).drop(columns="forwards")


@pytest.mark.parametrize("budget", [10.0, 20.0])
def test_it_is_kept_and_what_is_open_is_said(budget, slow, pictures, tmp_path, clock, capsys):
    began = clock.now
    done = run(slow, pictures, tmp_path / "run", ("FGSM", "AutoAttack", "Square"), budget=budget)
    assert clock.now - began <= 1.2 * budget + 2
    found = result(done)
    left = found["left_open"]
    records = read_records(tmp_path / "run")
    assert found["open"] == 90 - found["n"] and left["images"] >= found["open"] > 0
    counts = records[~records.attack.str.startswith("stronger")].groupby("attack").image.nunique()
    assert left["attacks"] == {name: 90 - int(counts.get(name, 0)) for name in ("FGSM", "AutoAttack", "Square")}
    findings = json.loads((tmp_path / "run" / "checks.json").read_text())
    (budgeted,) = (finding for finding in findings if finding["id"] == "budget")
    assert (budgeted["severity"] == "warning") == (90 in left["attacks"].values() or bool(left["checks"]))
    assert not (budgeted["severity"] == "warning" and found["verdict"]["believe"])
    assert not list((tmp_path / "run").rglob("*.partial"))
    done.display.console.quiet = False
    show(done, found)
    assert "Left open to keep within the time: " in capsys.readouterr().out


@pytest.mark.parametrize("model", ["slow", "masked"])
def test_what_was_left_open_is_done_the_next_time(model, pictures, tmp_path, request, clock):
    """In the end the rows, the findings and the verdict are those of an evaluation without a budget."""
    model, times = request.getfixturevalue(model), {}
    run(model, pictures, tmp_path / "whole")
    for budget in (12.0, 18.0, None, 600.0):
        run(model, pictures, tmp_path / "run", budget=budget)
        now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "records").glob("*.parquet")}
        own = {name: time for name, time in times.items() if "stronger" not in name}
        assert own.items() <= now.items(), "what is finished is not done again"
        times = now
    pd.testing.assert_frame_equal(rows(tmp_path / "whole"), rows(tmp_path / "run"))
    for name in ("checks.json", "verdict.json"):
        assert json.loads((tmp_path / "run" / name).read_text()) == json.loads((tmp_path / "whole" / name).read_text())


def test_with_time_enough_nothing_is_halved(slow, pictures, tmp_path, monkeypatch):
    effort = Effort(images=12, steps=6, queries=10, draws=4, eot=1, doublings=1)
    monkeypatch.setattr("escrime.commands.evaluate.assessment.EFFORT", effort)
    run(slow, pictures, tmp_path / "run", limit=30, budget=36_000.0)
    (checked,) = (json.loads(path.read_text()) for path in (tmp_path / "run" / "checks").glob("*.json"))
    strength = next(finding for finding in checked["findings"] if finding["id"] == "attack-strength")
    assert checked["effort"]["steps"] == 6 and "cut" not in checked and strength["evidence"]["images"] == 12
    findings = json.loads((tmp_path / "run" / "checks.json").read_text())
    assert not [finding for finding in findings if finding["id"] == "budget"]


def test_no_time_for_one_image(slow, pictures, tmp_path):
    with pytest.raises(EscrimeError, match="before any attack had finished one image.*larger budget"):
        run(slow, pictures, tmp_path / "run", budget=1e-6)
    assert not list((tmp_path / "run" / "records").iterdir())
    run(slow, pictures, tmp_path / "run", limit=None, budget=None)
    assert read_records(tmp_path / "run").image.nunique() == 90


def test_a_checks_rows_that_are_lost_come_back(masked, pictures, tmp_path):
    whole = run(masked, pictures, tmp_path / "run", ("FGSM",))
    before = rows(tmp_path / "run")
    lost = sorted((whole.folder / "records").glob("*stronger--00001.parquet"))
    lost[0].unlink()
    run(masked, pictures, tmp_path / "run", ("FGSM",))
    assert lost[0].exists()
    pd.testing.assert_frame_equal(before, rows(tmp_path / "run"))
