"""The stage that doubts the numbers: what it writes, that it resumes, and what `--strict` makes of it."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from escrime.cli import app
from escrime.commands.run import run_experiment
from escrime.evaluation import read_records
from escrime.results.findings import SEVERITIES

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_findings_and_verdicts_are_written_for_every_case(finished):
    findings, verdicts = (json.loads((finished / name).read_text()) for name in ("checks.json", "verdict.json"))
    assert {f["severity"] for f in findings} <= set(SEVERITIES)
    examined = {(f["defense"], f["threat"]) for f in findings if f["id"] == "attack-strength"}
    assert examined == {("none", "white-box"), ("ppa", "adaptive"), ("adversarial-training", "adaptive")}
    assert {f["id"] for f in findings} >= {"train-test-overlap", "few-images", "converged", "full-success", "certificate"}
    assert {(v["defense"], v["threat"]) for v in verdicts} == examined
    for verdict in verdicts:
        assert verdict["low"] <= verdict["accuracy"] <= verdict["high"] and f"{verdict['n']} images" in verdict["sentence"]


def test_the_verdict_is_the_worst_case_of_the_records(finished):
    """Of the images that every attack was run on."""
    verdict = next(v for v in json.loads((finished / "verdict.json").read_text()) if v["defense"] == "none")
    rows = read_records(finished).query("defense == 'none' and eps <= @verdict['eps']")
    rows = rows[rows["image"].isin(rows.query("attack == 'DGSM'")["image"])]
    assert verdict["n"] == 25 and verdict["accuracy"] == rows.groupby("image")["correct"].min().mean()


@pytest.mark.usefixtures("undrawn")
def test_a_lost_examination_comes_back_identical(copy, tiny):
    lost = next((copy / "checks").glob("lenet--ppa--*.json"))
    before, records = lost.read_text(), read_records(copy)
    lost.unlink()
    for part in (copy / "records").glob("lenet--ppa--adaptive--stronger--*.parquet"):
        part.unlink()
    run_experiment(str(tiny), out=copy, quiet=True, device="cpu")
    assert lost.read_text() == before
    order = ["defense", "threat", "attack", "eps", "image"]
    again = read_records(copy)
    assert again.sort_values(order, ignore_index=True).equals(records.sort_values(order, ignore_index=True))


@pytest.mark.usefixtures("undrawn")
def test_killed_after_its_records_an_examination_finds_the_same_again(copy, tiny):
    """The rows of the stronger attack are written before the findings: they are no attack that was asked for."""
    lost = {path: path.read_text() for path in (copy / "checks").glob("*.json")}
    for path in lost:
        path.unlink()
    run_experiment(str(tiny), out=copy, quiet=True, device="cpu")
    assert {path: path.read_text() for path in lost} == lost


@pytest.mark.usefixtures("undrawn")
def test_strict_makes_the_verdict_the_exit_code(copy):
    path = copy / "verdict.json"
    verdicts = json.loads(path.read_text())
    for believe, code in ((True, 0), (False, 3)):
        path.write_text(json.dumps([v | {"believe": believe} for v in verdicts]))
        done = CliRunner().invoke(app, ["report", str(copy), "--strict"])
        assert done.exit_code == code, done.output
        assert ("not to be believed" in done.output) is not believe
    assert CliRunner().invoke(app, ["report", str(copy)]).exit_code == 0


@pytest.mark.usefixtures("undrawn")
def test_strict_without_a_verdict_says_why(copy):
    (copy / "verdict.json").unlink()
    done = CliRunner().invoke(app, ["report", str(copy), "--strict"])
    assert done.exit_code != 0 and "verdict.json" in str(done.exception)
