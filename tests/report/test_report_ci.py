"""What CI systems read: JUnit, SARIF, the schema of the JSON document, and the examples of docs/how-to/ci.md."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import typer
import yaml

from escrime.cli.app import app
from escrime.report.document_schema import SCHEMA, schema
from escrime.results.findings import Finding
from escrime.results.verdicts import Verdict

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def run(builder, tmp_path):
    """A run with an alarm that nothing answered, one that was taken away, a warning that was answered, a note, a pass."""
    built = builder(40).model("net")
    built.sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    folder = built.write(tmp_path / "run")
    about = {"model": "net", "defense": "none", "threat": "white-box", "norm": "linf", "evidence": {}, "remedy": "Mend it."}
    findings = [
        about | {"id": "gradient-zero", "severity": "alarm", "message": "no <slope> & none \x07", "answered": True},
        about | {"id": "attack-strength", "severity": "passed", "message": "more was found nowhere", "remedy": ""},
        about | {"id": "iterated-weaker", "severity": "warning", "message": "weaker", "answered": True},
        about | {"id": "randomized", "severity": "note", "message": "noise"},
        about | {"id": "scores-flat", "severity": "warning", "message": "flat"},
    ]
    (folder / "checks.json").write_text(json.dumps(findings))
    return folder


def cases(text: str) -> dict[str, bool]:
    """Name of each test case → whether it fails; the counts of the suites are those of their cases."""
    root, found = ElementTree.fromstring(text.encode()), {}
    for suite in root.iter("testsuite"):
        own = {case.get("name"): case.find("failure") is not None for case in suite.iter("testcase")}
        assert int(suite.get("tests")) == len(own) and int(suite.get("failures")) == sum(own.values())
        found |= {f"{suite.get('name')} {name}": failed for name, failed in own.items()}
    return found


def test_junit_fails_where_a_number_is_not_to_be_believed(run, escrime):
    code, out, _ = escrime("report", run, "--format", "junit")
    assert code == 0
    found = cases(out)
    assert found["escrime.check gradient-zero: net"], "an answered alarm still leaves an upper bound"
    assert found["escrime.check scores-flat: net"] and found["escrime.verdict net"]
    assert not found["escrime.check iterated-weaker: net"] and not found["escrime.check attack-strength: net"]
    assert not any(name.startswith("escrime.gate") for name in found)


@pytest.mark.parametrize(("least", "failed", "expected"), [("0.5", False, 0), ("0.51", True, 4)])
def test_the_gate_is_a_test_case_and_an_exit_code(run, escrime, tmp_path, least, failed, expected):
    verdict = {"model": "net", "defense": "none", "accuracy": 0.5, "believe": False, "sentence": "net keeps 50%"}
    (run / "verdict.json").write_text(json.dumps([verdict]))
    code, _, err = escrime("report", run, "--format", "junit", "--fail-under", least, "--out", tmp_path / "j.xml")
    assert code == expected and cases((tmp_path / "j.xml").read_text())["escrime.gate net"] is failed
    assert ("below --fail-under" in err) is failed


def test_a_threshold_that_is_no_share_is_refused(run, escrime):
    code, _, err = escrime("report", run, "--format", "junit", "--fail-under", "40")
    assert code == 2 and "--fail-under = 40.0 is not a number from 0 to 1" in err


def test_sarif_holds_what_objects(run, escrime):
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["experiment"]["model"] = "./nets/mine.py:load"
    (run / "manifest.json").write_text(json.dumps(manifest))
    code, out, _ = escrime("report", run, "--format", "sarif", "--fail-under", "0.9")
    assert code in (0, 2, 4)
    found = json.loads(out)
    (one,) = found["runs"]
    levels = {(row["ruleId"]): row["level"] for row in one["results"]}
    assert levels["gradient-zero"] == "error" and levels["scores-flat"] == "warning"
    assert levels["iterated-weaker"] == "note" and levels["randomized"] == "note"
    assert levels["verdict"] == "error" and levels["gate"] == "error" and "attack-strength" not in levels
    assert {rule["id"] for rule in one["tool"]["driver"]["rules"]} == set(levels)
    places = {row["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for row in one["results"]}
    assert found["version"] == "2.1.0" and places == {"nets/mine.py"}


def test_the_committed_schema_is_the_code_s_and_fits_the_document(run, escrime):
    assert json.loads((DOCS / SCHEMA).read_text("utf-8")) == schema(), "write docs/report.schema.json again: docs/tables.py"
    _, out, _ = escrime("report", run, "--format", "json")
    document = json.loads(out)
    jsonschema.Draft202012Validator(schema()).validate(document)
    del document["verdicts"][0]["believe"]
    with pytest.raises(jsonschema.ValidationError, match="believe"):
        jsonschema.Draft202012Validator(schema()).validate(document)


@pytest.mark.parametrize(("row", "held"), [("VerdictRow", Verdict), ("CheckRow", Finding)])
def test_the_schema_holds_each_field_of_what_the_document_is_made_from(row, held, run, escrime):
    stated = schema()["$defs"][row]
    assert list(stated["properties"]) == stated["required"] == [field.name for field in fields(held)]
    found = json.loads(escrime("report", run, "--format", "json")[1])
    assert all(set(one) == set(stated["properties"]) for one in found["verdicts" if held is Verdict else "checks"])


def examples() -> list[dict]:
    """The YAML blocks of the page, read."""
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", (DOCS / "how-to" / "ci.md").read_text(), re.S)]


def test_the_examples_are_workflows_whose_commands_exist():
    github, gitlab = examples()
    steps = github["jobs"]["robustness"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    lines = [step["run"] for step in steps if "run" in step] + gitlab["robustness"]["script"]
    used = [shlex.split(re.split(r" (?:\|\||>>)", line)[0]) for line in lines if line.startswith("escrime ")]
    assert {words[1] for words in used} == {"evaluate", "report"} and len(used) == 5
    for words in used:
        command = typer.main.get_command(app).commands[words[1]]
        command.make_context(words[1], list(words[2:]), resilient_parsing=False)  # raises for an option that there is none
    assert gitlab["robustness"]["artifacts"]["reports"]["junit"] == "junit.xml"
