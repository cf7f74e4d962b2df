"""The list under "Can it be believed?": what the experiment's checks wrote down, and what the records say."""

import json
import re

import pytest

from escrime.errors import EscrimeError
from escrime.report import draw_report, read_run
from escrime.report.validity import validity
from escrime.results.findings import SEVERITIES, Finding

pytestmark = pytest.mark.usefixtures("blank_figures")


def sound(builder, n=400):
    built = builder(n).model("net")
    for attack, shares in (("FGSM", {0: 1.0, 0.1: 0.6, 0.2: 0.4}), ("PGD", {0: 1.0, 0.1: 0.5, 0.2: 0.1})):
        built.sweep("net", "none", "white-box", attack, shares)
        built.sweep("net", "ppa", "transfer", attack, {0: 1.0, 0.1: 0.8, 0.2: 0.7})
        built.sweep("net", "ppa", "adaptive", attack, shares)
    return built


def stored(folder, *findings):
    (folder / "checks.json").write_text(json.dumps([finding.as_dict() for finding in findings]))


def test_a_sound_run_has_passed_every_check(builder, tmp_path):
    found = validity(read_run(sound(builder).write(tmp_path)))
    assert {finding.severity for finding in found} == {"passed"}
    assert {"unverified", "lost-in-8-bits", "only-transfer", "transfer-stronger", "accuracy-rises"} <= {f.id for f in found}


def test_the_records_findings_are_on_the_list(builder, tmp_path):
    built = builder(200).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.3, 0.2: 0.6})
    built.sweep("net", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 0.5})
    found = {(finding.id, finding.defense): finding for finding in validity(read_run(built.write(tmp_path)))}
    assert found["accuracy-rises", "none"].severity == "note"
    assert found["only-transfer", "ppa"].severity == "warning"
    assert found["single-step-only", "none"].severity == "warning"


def test_the_worst_comes_first(builder, tmp_path):
    folder = sound(builder, 200).write(tmp_path)
    stored(folder, *[Finding(f"made-up-{name}", name, "it is so") for name in reversed(SEVERITIES)])
    severities = [finding.severity for finding in validity(read_run(folder))]
    assert severities == sorted(severities, key=list(SEVERITIES).index) and set(severities) == set(SEVERITIES)


def test_the_same_check_of_the_same_case_is_listed_once(builder, tmp_path):
    folder = sound(builder).write(tmp_path)
    written = Finding("unverified", "passed", "as the experiment said")
    stored(folder, written, Finding("unverified", "alarm", "of another", model="other"))
    found = [finding for finding in validity(read_run(folder)) if finding.id == "unverified"]
    assert [finding.message for finding in found] == ["of another", "as the experiment said"]


def test_an_alarm_of_the_records_is_not_hidden_by_what_was_written(builder, tmp_path):
    built = builder(200).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.3})
    folder = built.sweep("net", "none", "white-box", "PGD", {0: 1.0, 0.1: 0.6}).write(tmp_path)
    case = {"model": "net", "defense": "none", "threat": "white-box"}
    stored(folder, Finding("iterated-weaker", "passed", "nothing", **case))
    first = validity(read_run(folder))[0]
    assert (first.id, first.severity) == ("iterated-weaker", "alarm")


def test_a_newer_version_may_have_written_more(builder, tmp_path):
    folder = sound(builder).write(tmp_path)
    row = Finding("made-up", "alarm", "it is so").as_dict() | {"since": "2.0"}
    (folder / "checks.json").write_text(json.dumps([row]))
    assert validity(read_run(folder))[0].id == "made-up"


@pytest.mark.parametrize("content", ["{", "[1]", '[{"id": "x"}]', '[{"id": "x", "severity": "grave", "message": "m"}]'])
def test_a_broken_file_is_one_sentence(builder, tmp_path, content):
    folder = sound(builder).write(tmp_path)
    (folder / "checks.json").write_text(content)
    with pytest.raises(EscrimeError, match=r"checks\.json .*delete it"):
        validity(read_run(folder))


def test_the_page_says_it_in_words_with_the_evidence_folded(builder, tmp_path):
    folder = sound(builder).write(tmp_path)
    alarm = Finding(
        "gradient-zero", "alarm", "The input gradient is zero (<3 of 4)",
        {"images": 4, "medians": {"ratio": 0.5}}, "Go around it.",
        "net", "ppa", "adaptive", answered=True,
    )  # fmt: skip
    stored(folder, alarm)
    draw_report(folder)
    page = (folder / "report.html").read_text()
    section = page[page.index('<section id="validity">') :]
    section = section[: section.index("</section>")]
    first = re.search(r"<li>.*?</li>", section, re.S)[0]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", first[: first.index("<details")])).strip()
    assert words == (
        "alarm Gradient zero (net, PPA, adaptive). The input gradient is zero (&lt;3 of 4). A stronger attack was run because "
        "of this, and its number stands. What to do: Go around it."
    )
    assert "<details" in first and "<details open" not in first
    assert re.search(r'<th scope="row">medians\.ratio</th>\s*<td>0\.5</td>', first)
    passed = len(validity(read_run(folder))) - 1
    assert f"1 alarm, 0 warnings, 0 notes, {passed} passed" in re.sub(r"\s+", " ", section)
