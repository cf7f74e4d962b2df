"""The whole `escrime run digits`, as a new user types it: every stage, both networks, figures, claims and page."""

import json
import os
import subprocess
import sys

import pytest

from escrime.evaluation import read_records, summarize

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # one run for all, four minutes on an idle machine


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    command = [sys.executable, "-m", "escrime", "run", "digits"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "digits", done.stdout


def test_it_says_where_the_report_lies_and_what_it_found(digits):
    folder, said = digits
    assert "report.html" in said and "wide_resnet_small" in said and "adaptive" in said
    assert (folder / "report.html").stat().st_size < 5_000_000


def test_it_doubts_its_numbers_and_finds_nothing_that_misleads(digits):
    folder, said = digits
    verdicts, findings = (json.loads((folder / name).read_text()) for name in ("verdict.json", "checks.json"))
    assert len(verdicts) == 6 and all(verdict["believe"] for verdict in verdicts)
    assert not [finding["message"] for finding in findings if finding["severity"] == "alarm"]
    by = {(v["model"], v["defense"]): v for v in verdicts}
    assert by["lenet", "none"]["accuracy"] < 0.35, "FGSM alone leaves 46 %"
    assert by["lenet", "adversarial-training"]["low"] > by["lenet", "none"]["high"]
    assert " ".join(verdicts[0]["sentence"].split()[:3]) in " ".join(said.split())


def test_both_networks_learn_are_fooled_and_are_hardened(digits):
    table = summarize(read_records(digits[0])).query("attack == 'FGSM'").set_index(["model", "defense", "threat", "eps"])
    for model in ("wide_resnet_small", "lenet"):
        clean = table.loc[(model, "none", "white-box", 0.0), "accuracy"]
        fooled = table.loc[(model, "none", "white-box", 0.15)]
        hardened = table.loc[(model, "adversarial-training", "adaptive", 0.15)]
        assert clean > 0.9  # of 200 images; which network comes out depends on the number of threads
        assert fooled["high"] < clean - 0.3
        assert hardened["low"] > fooled["high"], "adversarial training must help, its interval apart from the undefended one"
        assert (table.loc[model, "n"] == 200).all()


def test_dgsm_reaches_its_target_where_ppa_is_known(digits):
    records = read_records(digits[0]).query("attack == 'DGSM' and model == 'wide_resnet_small'")
    hit = records.groupby(["defense", "threat", "eps"])["hit"].mean()
    assert hit["none", "white-box", 0.0] < 0.15 and hit["none", "white-box", 0.3] > 0.85
    assert hit["ppa", "adaptive", 0.3] > 0.85


def test_every_figure_and_claim_of_both_networks(digits):
    folder = digits[0]
    for model in ("wide_resnet_small", "lenet"):
        for number in range(1, 9):
            for kind in ("png", "svg"):
                assert (folder / "figures" / f"fig{number}-{model}.{kind}").stat().st_size > 2000
    claims = json.loads((folder / "claims.json").read_text())
    assert {claim["id"] for claim in claims} == {f"C{i}" for i in range(1, 13)}
    assert {claim["verdict"] for claim in claims} <= {"reproduced", "not reproduced", "partly", "not tested"}
