"""`escrime evaluate --threat`: several norms in one evaluation, each with its number, and what is left of all of them."""

import json
import re

import pytest
from typer.testing import CliRunner

from escrime import EscrimeError
from escrime.cli import app
from escrime.evaluation import read_records

pytestmark = pytest.mark.slow


def call(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    return result


def ask(weights, pictures, out, threat, *more):
    start = ("evaluate", "--model", weights, "--data", pictures, "--limit", "12", "--device", "cpu", "--out", out)
    return call(*start, "--threat", threat, *more)


@pytest.fixture(scope="module")
def judged(weights, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return ask(weights, pictures, out, "l2:0.4,0.2,linf:0.05,l0:1"), out


def test_each_threat_has_its_number_and_their_union_the_last_word(judged):
    result, out = judged
    assert result.exit_code == 0, result.output
    found = json.loads((out / "answer.json").read_text())
    assert {row["norm"]: row["eps"] for row in found["threats"]} == {"l2": 0.4, "linf": 0.05, "l0": 1.0}
    assert (found["norm"], found["eps"]) == ("l2", 0.4), "the first that was asked for"
    records = read_records(out)
    attacked = records[records.eps.isin([0.4, 0.05, 1.0, 0.2, 0.0])]
    left = attacked.groupby("image").correct.min().mean()
    assert found["robust"]["accuracy"] == pytest.approx(left) and found["robust"]["n"] == 12
    assert all(row["accuracy"] >= left for row in found["threats"])
    assert {row["eps"] for row in found["attacks"] if row["norm"] == "l2"} == {0.0, 0.2, 0.4}
    assert "whichever threat the attacker chooses for each" in found["verdict"]["sentence"]
    clean = found["clean"]
    row = f"{clean['accuracy']:.1%} [{100 * clean['low']:.0f}–{100 * clean['high']:.0f}]"
    assert re.search(rf"Every threat to the same 12 images(?s:.*)\n none +{re.escape(row)}", result.output), result.output
    assert "any of them" in result.output and "l_inf: % of 12 images" in result.output


def test_verdicts_are_about_the_first_epsilon_of_each(judged):
    verdicts = json.loads((judged[1] / "verdict.json").read_text())
    assert {verdict["norm"]: verdict["eps"] for verdict in verdicts} == {"l2": 0.4, "linf": 0.05, "l0": 1.0}


def test_the_page_and_the_gate_speak_of_all_threats(judged):
    out = judged[1]
    page = (out / "report.html").read_text()
    for words in ("any of 3 threats", "any of them", "l0, ε = 1", "ε in l2", "every attack in l2"):
        assert words in page, words
    least = json.loads((out / "answer.json").read_text())["robust"]["accuracy"]
    above = str(round(least + 0.01, 3))
    assert call("report", out, "--fail-under", above).exit_code == 4
    text = call("report", out, "--format", "junit", "--fail-under", above).output
    assert "every threat" in text and "under any of 3 threats" in text


def test_it_continues_and_another_list_is_another_question(judged, weights, pictures):
    out = judged[1]
    before = sorted((path.name, path.stat().st_mtime) for path in (out / "records").iterdir())
    assert ask(weights, pictures, out, "l2:0.4,0.2,linf:0.05,l0:1").exit_code == 0
    assert before == sorted((path.name, path.stat().st_mtime) for path in (out / "records").iterdir())
    with pytest.raises(EscrimeError, match="another"):
        ask(weights, pictures, out, "l2:0.4,0.2,linf:0.1,l0:1")


@pytest.mark.parametrize(
    ("threat", "said"), [("patch:9", "9 pixels of a patch's side"), ("l0:65", "65 pixels in l0"), ("l2:14", "14")]
)
def test_what_bounds_nothing_on_images_of_this_size_is_refused(weights, pictures, tmp_path, threat, said):
    with pytest.raises(EscrimeError, match=f"ε = {said}.* is more than between any two images of 8 × 8 pixels"):
        ask(weights, pictures, tmp_path / "run", threat)
    assert not (tmp_path / "run").exists()


def test_all_leaves_out_what_no_attack_can_do_from_outside_and_a_named_one_is_refused(weights, pictures, tmp_path):
    result = ask(weights, pictures, tmp_path / "run", "all", "--access", "labels", "--attack", "RayS")
    assert result.exit_code == 0, result.output
    assert set(read_records(tmp_path / "run")["norm"]) == {"linf"}
    with pytest.raises(EscrimeError, match="no attack of RayS works in l2"):
        ask(weights, pictures, tmp_path / "other", "linf,l2", "--access", "labels", "--attack", "RayS")
