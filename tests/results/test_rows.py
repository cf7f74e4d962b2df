"""What no run writes is refused by file, row and column."""

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from escrime.errors import EscrimeError
from escrime.results.records import frame, read_records


def rows(**changed):
    some = {"model": "net", "defense": "none", "threat": "white-box", "attack": "FGSM", "norm": "linf", "eps": 0.1}
    some |= {"image": ["a", "b", "c"], "subsets": "", "label": [0, 1, 2], "target": -1, "clean_prediction": 0}
    some |= {"clean_confidence": 0.9, "prediction": 1, "confidence": 0.5, "correct": [1.0, 0.0, 1.0], "hit": 0.0, "draws": 1}
    some |= {"distance": 0.1, "forwards": 1.0, "backwards": 1.0, "verified": True, "survives_8bit": False, "seed": 0}
    return frame(some).assign(**changed)


def written(table, tmp_path):
    table.to_parquet(tmp_path / "0.parquet", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("correct", 5.0, "correct is 5.0, which is no number from 0 to 1"),
        ("correct", np.nan, "correct is nothing"),
        ("hit", -0.5, "hit is -0.5"),
        ("preliminary", np.inf, "preliminary is inf"),
        ("confidence", 2.0, "confidence is 2.0"),
        ("eps", -0.1, "eps is -0.1"),
        ("eps", 1.5, "eps is 1.5, more than the whole color range"),
        ("distance", -1.0, "distance is -1.0"),
        ("forwards", -1.0, "forwards is -1.0"),
        ("label", -1, "label is -1"),
        ("prediction", -2, "prediction is -2"),
        ("target", -2, "target is -2"),
        ("draws", -1, "draws is -1"),
        ("threat", "grey-box", "threat is 'grey-box', which is none of white-box, black-box, transfer, adaptive"),
        ("norm", "l7", "norm is 'l7', which is none of linf"),
        ("model", "../net", "model is '../net'"),
        ("attack", "a\x1b[31m", "attack is 'a.x1b.31m'"),
        ("defense", "", "defense is '', which is no name"),
        ("image", "x" * 5000, "image is a text of 5,000 characters"),
        ("label", "one", "column label holds .* in place of int64"),
        ("verified", 2, "column verified holds int64 in place of bool"),
        ("subsets", 1, "column subsets holds .* in place of string"),
    ],
)
def test_an_odd_value_is_named_with_its_place(tmp_path, column, value, words):
    table = rows()
    if isinstance(value, type(table[column].iloc[0])) or column in ("correct", "preliminary"):
        table.loc[1, column] = value
    else:
        table[column] = value
    with pytest.raises(EscrimeError, match=f"0.parquet.*{words}") as error:
        read_records(written(table, tmp_path))
    assert "holds" in words or "lack" in words or table[column].nunique() == 1 or "row 1" in str(error.value)


def test_what_runs_write_is_read_whatever_its_width(tmp_path):
    table = rows()
    assert read_records(written(table, tmp_path)).equals(table)
    narrow = table.astype({"label": "int16", "eps": "float32", "model": "category"})
    assert read_records(written(narrow, tmp_path))["model"].tolist() == ["net"] * 3
    uncounted = table.assign(forwards=np.nan)  # an attack of the user's own
    assert read_records(written(uncounted, tmp_path))["forwards"].isna().all()


def test_an_image_has_one_row_and_one_label(tmp_path):
    with pytest.raises(EscrimeError, match="hold the image 'a' twice for net, none, white-box, FGSM, linf, ε = 0.1"):
        read_records(written(rows(image=["a", "b", "a"]), tmp_path))
    with pytest.raises(EscrimeError, match="give the image 'a' two labels"):
        read_records(written(rows(image=["a", "b", "a"], eps=[0.1, 0.1, 0.2]), tmp_path))
    written(rows(), tmp_path)
    rows(image="a", label=0, eps=[0.1 + 1e-12, 0.3, 0.4])[:1].to_parquet(tmp_path / "1.parquet", index=False)
    with pytest.raises(EscrimeError, match="twice"):
        read_records(tmp_path)


def test_the_odd_part_of_several_is_named(tmp_path):
    written(rows(), tmp_path)
    rows(image=["d", "e", "f"], correct=[1.0, 7.0, 0.0]).to_parquet(tmp_path / "1.parquet", index=False)
    with pytest.raises(EscrimeError, match="1.parquet, row 1: correct is 7.0"):
        read_records(tmp_path)


def test_a_column_that_is_there_twice_is_named(tmp_path):
    table = pyarrow.Table.from_pandas(rows(), preserve_index=False)
    parquet.write_table(table.append_column("model", table["eps"]), tmp_path / "0.parquet")
    with pytest.raises(EscrimeError, match=r"0\.parquet cannot be read \(it has several columns model\)"):
        read_records(tmp_path)


def test_a_name_is_measured_in_the_bytes_of_a_file_name(tmp_path):
    read_records(written(rows(model="é" * 100), tmp_path))
    with pytest.raises(EscrimeError, match="model is .* too long for a name"):
        read_records(written(rows(model="é" * 101), tmp_path))


def test_a_small_file_does_not_become_a_large_table(tmp_path, monkeypatch):
    """A text is stored once for all the rows that hold it."""
    count = 3000
    table = rows(image=["x" * 4000] * 3)
    written(pd.concat([table] * (count // 3), ignore_index=True), tmp_path)
    assert (tmp_path / "0.parquet").stat().st_size < 100_000
    monkeypatch.setattr("escrime.results.rows.UNPACKED", 4000 * count)
    with pytest.raises(EscrimeError, match="unpack to more than"):
        read_records(tmp_path)
    monkeypatch.setattr("escrime.results.rows.UNPACKED", 4500 * count)
    with pytest.raises(EscrimeError, match="twice"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("model", [f"m{i}" for i in range(101)], "101 different values of model"),
        ("eps", [i / 1001 for i in range(1001)], "1,001 different values of eps"),
        ("subsets", [" ".join(f"s{i}" for i in range(21))], "21 different values of subset"),
    ],
)
def test_records_of_more_than_is_ever_drawn_are_refused(tmp_path, column, values, words):
    table = pd.concat([rows().iloc[[0]]] * len(values), ignore_index=True)
    with pytest.raises(EscrimeError, match=words):
        read_records(written(table.assign(**{column: values}), tmp_path))
