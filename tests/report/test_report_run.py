"""Reading a run folder: clean images are borrowed, subsets kept apart, broken folders named."""

import os

import numpy as np
import pandas as pd
import pytest

from escrime.errors import EscrimeError
from escrime.report import draw_report, read_run
from escrime.report.sweep import one_sweep

pytestmark = pytest.mark.usefixtures("blank_figures")


def test_clean_rows_open_every_sweep_that_has_none(builder, tmp_path):
    built = builder(40).model("net")
    built.sweep("net", "none", "white-box", "none", {0: 0.9}).sweep("net", "none", "white-box", "FGSM", {0.1: 0.5})
    built.sweep("net", "none", "white-box", "DGSM", {0.1: 0.8})
    run = read_run(built.write(tmp_path))
    fgsm, dgsm = (run.sweep("net", "none", "white-box", attack) for attack in ("FGSM", "DGSM"))
    assert fgsm.eps.tolist() == [0, 0.1] and [p.value for p in fgsm.points()] == [0.9, 0.5]
    # 12 % of the labels are the target and are called so without any attack: the paper's floor.
    assert dgsm.point(0, "hit").value == pytest.approx(5 / 40)


def test_each_subset_counts_only_its_images(builder, tmp_path):
    built = builder(40, subsets={"leak-free": 10, "val": 30}).model("net")
    run = read_run(built.sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5}).write(tmp_path))
    assert run.subsets == ["val", "leak-free"]  # the paper's way to count first
    at = {name: run.sweep("net", "none", "white-box", "FGSM", name).at(0.1) for name in (None, "val", "leak-free")}
    assert {name: point.n for name, point in at.items()} == {None: 40, "val": 30, "leak-free": 10}
    assert {name: round(point.value * point.n) for name, point in at.items()} == {None: 20, "val": 10, "leak-free": 0}


def test_an_eps_without_images_of_a_subset_is_no_part_of_its_sweep(builder, tmp_path):
    built = builder(40, subsets={"val": 40, "leak-free": 4}).model("net")
    built.sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5, 0.2: 0.5})
    folder = built.write(tmp_path)
    for part in (folder / "records").glob("*.parquet"):
        rows = pd.read_parquet(part)
        rows[~((rows["eps"] == 0.2) & rows["subsets"].str.contains("leak-free"))].to_parquet(part, index=False)
    run = read_run(folder)
    assert run.sweep("net", "none", "white-box", "FGSM", "leak-free").eps.tolist() == [0, 0.1]
    assert len(draw_report(folder)) > 2


def test_differences_are_taken_on_the_images_both_have(builder, tmp_path):
    built = builder(40).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "ppa", "adaptive", "FGSM", {0: 1.0, 0.1: 0.75})
    folder = built.write(tmp_path)
    for part in (folder / "records").glob("*.parquet"):
        rows = pd.read_parquet(part)
        late = rows["image"] >= "digits/0020"
        rows[~((rows["defense"] == "ppa") & ~late)].to_parquet(part, index=False)  # the adaptive attack saw 20 images only
    run = read_run(folder)
    ppa, bare = run.sweep("net", "ppa", "adaptive", "FGSM"), run.sweep("net", "none", "white-box", "FGSM")
    gain = ppa.against(bare, 0.1)
    assert (gain.n, gain.value) == (20, 0.5)  # right on images 20–29 of 20–39, where the undefended network has none
    assert ppa.against(bare, 0.3) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: [p.unlink() for p in (f / "records").glob("*")], "records"),
        (lambda f: (f / "manifest.json").unlink(), "manifest"),
        (lambda f: (f / "manifest.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "examples" / "wrn.json").write_text("["), "cannot be read"),
        (lambda f: (f / "records" / "002.parquet").write_bytes((f / "records" / "001.parquet").read_bytes()), "twice"),
        (lambda f: drop_column(f, "hit"), "hit"),
    ],
    ids=["no records", "no manifest", "broken manifest", "broken examples", "doubled records", "missing column"],
)
def test_a_broken_folder_is_one_sentence_and_leaves_nothing(paper_curves, with_examples, tmp_path, spoil, words):
    built = paper_curves(10)
    with_examples(built, "wrn")
    folder = built.write(tmp_path / "run")
    spoil(folder)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(EscrimeError, match=words):
        draw_report(folder)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_what_a_killed_report_left_is_removed_after_an_hour(builder, tmp_path):
    folder = builder(4).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5}).write(tmp_path / "run")
    old, new = folder / ".report-old", folder / ".report-new"
    for path in (old, new):
        path.mkdir()
        (path / "claims.json").write_text("[]")
    os.utime(old, (0, 0))
    draw_report(folder)
    assert not old.exists() and new.exists()


def test_a_training_without_an_epoch_has_no_log(builder, tmp_path):
    folder = builder(4).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5}).write(tmp_path / "run")
    (folder / "training" / "net--none.csv").write_text("")
    assert read_run(folder).training("net") == {} and len(draw_report(folder)) > 2


def test_a_manifest_that_is_none_is_named(builder, tmp_path):
    folder = builder(4).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0}).write(tmp_path / "run")
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(EscrimeError, match="manifest.json cannot be read .a list where an object should be.; restore it"):
        draw_report(folder)


def test_a_doubled_row_is_no_sweep(builder, tmp_path):
    run = read_run(builder(4).model("net").sweep("net", "none", "white-box", "FGSM", {0.1: 1.0}).write(tmp_path / "run"))
    with pytest.raises(EscrimeError, match="twice for net, none, white-box, FGSM.*ε = 0.1: two runs wrote into one folder"):
        one_sweep("net", "none", "white-box", "FGSM", pd.concat([run.records, run.records.iloc[2:3]]))


def drop_column(folder, name):
    for part in (folder / "records").glob("*.parquet"):
        pd.read_parquet(part).drop(columns=name).to_parquet(part, index=False)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(EscrimeError, match="nowhere"):
        draw_report(tmp_path / "nowhere")


def test_fractional_scores_of_a_randomized_defense_are_averaged(builder, tmp_path):
    built = builder(4).model("net").sweep("net", "ppa", "transfer", "FGSM", {0: 1.0, 0.1: 1.0}, draws=8)
    built.parts[1]["correct"] = np.array([1.0, 0.5, 0.25, 0.0])
    sweep = read_run(built.write(tmp_path)).sweep("net", "ppa", "transfer", "FGSM")
    assert sweep.at(0.1).value == pytest.approx(0.4375) and sweep.draws == 8


def test_records_written_without_preliminary_are_reported(builder, tmp_path):
    built = builder(20).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5, 0.2: 0.7})
    folder = built.write(tmp_path)
    drop_column(folder, "preliminary")
    assert len(draw_report(folder)) > 2
    run = read_run(folder)
    assert [p.value for p in run.envelope(run.sweep("net", "none", "white-box", "FGSM")).points()] == [1.0, 0.5, 0.5]


def test_a_damaged_file_says_what_to_do(builder, tmp_path):
    from escrime.report.run import load_arrays, read_json

    (tmp_path / "net.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(EscrimeError, match="net.npz cannot be read .*it will be rebuilt"):
        load_arrays(tmp_path / "net.npz")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(EscrimeError, match="manifest.json cannot be read .*restore it, or run the experiment again in another"):
        read_json(tmp_path / "manifest.json")
