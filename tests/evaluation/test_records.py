"""Records are written whole or not at all, and summarized per subset."""

import pytest

from escrime import FGSM, EscrimeError, evaluate
from escrime.results.records import read_records, summarize, write_part


def test_parts_come_back_equal(linear, data, tmp_path):
    records = evaluate(linear, data, FGSM(0.1), checks=False).records
    (tmp_path / "records").mkdir()
    write_part(records[:70], tmp_path / "records" / "a.parquet")
    write_part(records[70:], tmp_path / "records" / "b.parquet")
    assert read_records(tmp_path).equals(records)


def test_a_failed_write_leaves_nothing(linear, data, tmp_path, monkeypatch):
    records = evaluate(linear, data, FGSM(0.1), checks=False).records

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EscrimeError, match="No space left"):
        write_part(records, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_no_records_and_damaged_records_are_named(tmp_path):
    with pytest.raises(EscrimeError, match="holds no records"):
        read_records(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(EscrimeError, match="bad.parquet"):
        read_records(tmp_path)


def test_records_without_a_column_are_named(linear, data, tmp_path):
    records = evaluate(linear, data, FGSM(0.1), checks=False).records
    write_part(records.drop(columns=["eps", "label"]), tmp_path / "foreign.parquet")
    with pytest.raises(EscrimeError, match="foreign.parquet lack eps, label"):
        read_records(tmp_path)


def test_summary_per_subset(linear, data):
    records = evaluate(linear, data, FGSM(0.1), checks=False).records
    records["subsets"] = ["val leak-free" if i < 30 else "val" for i in range(len(records))]
    table = summarize(records)
    assert dict(zip(table["subset"], table["n"])) == {"val": 150, "leak-free": 30}


def test_records_of_an_earlier_version_are_read(linear, data, tmp_path):
    """Without `preliminary`: it is `correct`, also where parts of both kinds lie side by side."""
    records = evaluate(linear, data, FGSM(0.1), checks=False).records
    (tmp_path / "records").mkdir()
    write_part(records[:70].drop(columns="preliminary"), tmp_path / "records" / "a.parquet")
    write_part(records[70:].assign(preliminary=0.5), tmp_path / "records" / "b.parquet")
    again = read_records(tmp_path)
    assert list(again.columns) == list(records.columns)
    assert again["preliminary"].tolist() == [*records["correct"][:70], *[0.5] * (len(records) - 70)]
