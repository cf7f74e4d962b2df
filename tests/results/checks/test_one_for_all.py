"""One perturbation for all images: a note that names who made it, and verdicts that do not pass it off as one for each."""

import pandas as pd
import pytest

from escrime import PGD
from escrime.attacks import UniversalPatch, UniversalPGD
from escrime.results.checks.records import record_findings
from escrime.results.findings import Finding
from escrime.results.verdicts import verdicts
from tests.results.checks.test_record_checks import attacked

CASE = {"model": "net", "defense": "none", "threat": "white-box", "norm": "linf"}
EXAMINED = Finding("attack-strength", "passed", "no stronger one finds more", **CASE)
MANNERS = {"mine": "universal", "PGD": "iterated"}


def judged(*parts):
    records = pd.concat(parts, ignore_index=True)
    notes = [finding for finding in record_findings(records, manners=MANNERS) if finding.id == "one-for-all"]
    (verdict,) = verdicts(records, [EXAMINED, *notes], {"linf": 0.1})
    return notes, verdict.sentence


@pytest.mark.parametrize(
    ("attack", "manner"), [(UniversalPGD(0.1), "universal"), (UniversalPatch(2), "universal"), (PGD(0.1), "iterated")]
)
def test_an_attack_says_whether_it_makes_one_for_all(attack, manner):
    assert attack.manner == manner


def test_a_note_tells_whatever_the_attack_is_called():
    (note,), _ = judged(attacked("mine", {0.05: 0.9, 0.1: 0.8}), attacked("PGD", {0.1: 0.2}))
    assert (note.severity, note.case) == ("note", ("net", "none", "white-box", "linf"))
    assert "that of mine leaves 80.0% of 200 images right at ε = 0.1" in note.message
    assert note.evidence == {"attacks": {"mine": {"0.05": 0.9, "0.1": 0.8}}}


def test_beside_what_is_made_for_each_image_it_is_another_number():
    _, sentence = judged(attacked("mine", {0.1: 0.8}), attacked("PGD", {0.1: 0.2}))
    assert "keeps 20.0%" in sentence and ", each with a perturbation of its own (mine, one for all, leaves 80.0%)" in sentence


def test_alone_it_is_the_number_and_the_sentence_says_whose():
    _, sentence = judged(attacked("mine", {0.05: 0.9, 0.1: 0.8}))
    assert "keeps 80.0%" in sentence and ", all with the same perturbation (mine)" in sentence


def test_nothing_is_said_where_each_image_has_its_own():
    notes, sentence = judged(attacked("PGD", {0.1: 0.2}))
    assert not notes and "perturbation" not in sentence
