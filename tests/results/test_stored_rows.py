"""What is kept in a file has the fields and the defaults of what it is read into."""

from dataclasses import MISSING, fields

from escrime.results.findings import Finding
from escrime.results.schema import StoredFinding


def test_a_stored_finding_has_the_fields_of_a_finding_and_their_defaults():
    def default(field):
        return field.default_factory() if field.default_factory is not MISSING else field.default

    own = {field.name: None if default(field) is MISSING else default(field) for field in fields(Finding)}
    stored = {name: None if field.is_required() else field.default for name, field in StoredFinding.model_fields.items()}
    assert stored == own
