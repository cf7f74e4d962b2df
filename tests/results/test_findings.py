"""A finding as it is kept in files."""

from dataclasses import MISSING, fields

from escrime.results.findings import Finding, from_rows
from escrime.results.schema import StoredFinding


def test_a_finding_is_stored_with_all_its_fields():
    """The schema of the file and the class have the same ones, with the same defaults."""
    stored = {name: MISSING if field.is_required() else field.default for name, field in StoredFinding.model_fields.items()}
    own = {f.name: {} if f.name == "evidence" else f.default for f in fields(Finding)}
    assert stored == own


def test_what_is_stored_comes_back():
    finding = Finding("few-images", "note", "text", {"n": 3}, "remedy", "net", "ppa", "adaptive", True, "l2", True)
    StoredFinding.model_validate(finding.as_dict())
    assert from_rows([finding.as_dict()], "linf") == [finding]
