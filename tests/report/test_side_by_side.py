"""`escrime compare`: two runs on the images both have, with the statistics of evaluation.comparisons."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from escrime.errors import EscrimeError
from escrime.report.side_by_side import CLEAN, as_json, compare_runs, sentence
from escrime.report.side_by_side_table import row
from escrime.results.statistics import holm, mcnemar, paired_difference, wilson


def one(builder, folder, model="net", shares=None, n=40, **changes):
    """A run of one undefended model under FGSM; `changes` replace facts of the manifest's dataset."""
    built = builder(n).model(model)
    built.sweep(model, "none", "white-box", "FGSM", shares or {0: 1.0, 0.1: 0.5})
    return changed(built.write(folder), **changes)


def changed(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["dataset"] |= changes
    path.write_text(json.dumps(manifest))
    return folder


def of(found, attack, eps):
    return next(p for p in found.pairs if p.attack == attack and abs(p.comparison.eps - eps) < 1e-9)


def test_the_numbers_are_those_of_the_statistics(builder, tmp_path):
    a = one(builder, tmp_path / "a", shares={0: 1.0, 0.1: 0.5, 0.2: 0.25})
    b = one(builder, tmp_path / "b", shares={0: 0.975, 0.1: 0.75, 0.3: 0.1})
    found = compare_runs(a, b)
    assert found.shared == 40 and not [w for w in found.warnings if "images differ" in w]
    assert [(p.attack, p.comparison.eps) for p in found.pairs] == [(CLEAN, 0), ("FGSM", 0.1), ("worst case", 0.1)]
    order = np.arange(40)
    before, after = (order < 20).astype(float), (order < 30).astype(float)
    c = of(found, "FGSM", 0.1).comparison
    assert (c.difference, c.low, c.high, c.n) == pytest.approx(paired_difference(after, before))
    assert (c.gained, c.lost, c.p) == (10, 0, pytest.approx(mcnemar(after, before)))
    assert [p.p_holm for p in found.pairs] == pytest.approx(list(holm([p.comparison.p for p in found.pairs])))
    assert of(found, "FGSM", 0.1).verdict == "better" and of(found, CLEAN, 0).verdict == "no difference shown"
    assert "better in 2 and worse in 0 of 3" in sentence(found)
    told = as_json(found)["rows"][1]
    assert told["second"]["accuracy"] == 0.75 and told["first"]["accuracy"] == 0.5
    assert (told["second"]["low"], told["second"]["high"]) == pytest.approx(wilson(30, 40))


def test_the_other_way_around_is_the_opposite(builder, tmp_path):
    a, b = one(builder, tmp_path / "a"), one(builder, tmp_path / "b", shares={0: 1.0, 0.1: 0.75})
    there, back = of(compare_runs(a, b), "FGSM", 0.1), of(compare_runs(b, a), "FGSM", 0.1)
    assert (there.comparison.difference, back.comparison.difference) == (0.25, -0.25)
    assert there.comparison.p == back.comparison.p and (there.verdict, back.verdict) == ("better", "worse")


def test_only_images_that_both_have_count(builder, tmp_path):
    a, b = one(builder, tmp_path / "a"), one(builder, tmp_path / "b", n=10, fingerprint="other", size=16)
    found = compare_runs(a, b)
    assert found.shared == 10
    c = of(found, "FGSM", 0.1).comparison
    assert (c.n, c.accuracy_second, c.accuracy_first) == (10, 1.0, 0.5)  # a is right on the first 20 of its 40
    (warning,) = [w for w in found.warnings if "images differ" in w]
    assert "abc123" in warning and "other" in warning and "16 px" in warning


def test_models_are_paired_by_name_or_by_choice(builder, tmp_path):
    built = builder(20).model("x").model("y")
    for model, share in (("x", 0.2), ("y", 0.9)):
        built.sweep(model, "none", "white-box", "FGSM", {0: 1.0, 0.1: share})
    both, single = built.write(tmp_path / "both"), one(builder, tmp_path / "single", model="z", n=20)
    other = one(builder, tmp_path / "other", model="y", n=20)
    assert {p.models for p in compare_runs(both, other).pairs} == {("y", "y")}
    assert {p.models for p in compare_runs(single, other).pairs} == {("z", "y")}
    assert {p.models for p in compare_runs(both, single, ("x", "z")).pairs} == {("x", "z")}
    assert of(compare_runs(both, both, ("x", "y")), "FGSM", 0.1).comparison.difference == pytest.approx(0.7)
    for words, said in ((("both", "single"), "--models x,z"), (("both", "both"), "compared with itself")):
        with pytest.raises(EscrimeError, match=said):
            compare_runs(*(tmp_path / word for word in words))
    with pytest.raises(EscrimeError, match="no model 'xx'; it holds x, y"):
        compare_runs(both, single, ("xx", "z"))
    with pytest.raises(EscrimeError, match="names 3 models"):
        compare_runs(both, single, ("x", "y", "z"))


def test_fewer_rows_are_corrected_for_fewer(builder, tmp_path):
    shares = {0: 1.0, 0.05: 0.8, 0.1: 0.5, 0.2: 0.2}
    a = one(builder, tmp_path / "a", shares=shares)
    b = one(builder, tmp_path / "b", shares={0: 1.0, 0.05: 0.9, 0.1: 0.65, 0.2: 0.3})
    everything, asked = compare_runs(a, b), compare_runs(a, b, attacks=("FGSM",), epsilons=(0.1,))
    assert len(everything.pairs) == 7 and [p.attack for p in asked.pairs] == [CLEAN, "FGSM"]
    assert of(asked, "FGSM", 0.1).p_holm < of(everything, "FGSM", 0.1).p_holm


def test_averages_over_noise_draws_are_tested_without_rounding(builder, tmp_path):
    folders = []
    for name, share in (("a", 0.5), ("b", 0.75)):
        folder = one(builder, tmp_path / name)
        for part in (folder / "records").glob("*.parquet"):
            rows = pd.read_parquet(part)
            rows.loc[rows["eps"] > 0, ["correct", "preliminary"]] = share
            rows.assign(draws=8).to_parquet(part, index=False)
        folders.append(folder)
    pair = of(compare_runs(*folders), "FGSM", 0.1)
    assert "sign flips" in pair.comparison.test and pair.comparison.difference == 0.25 and pair.verdict == "better"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows.assign(image="other/" + rows["image"]), "share no image (40 of digits"),
        (lambda rows: rows.assign(attack="PGD"), "has FGSM, worst case on none / white-box at ε = 0.1"),
        (lambda rows: rows.assign(eps=rows["eps"] * 2), "no defense, attack and ε in common"),
        (lambda rows: rows.assign(defense="ppa", threat="adaptive"), "no defense, attack and ε in common"),
        (lambda rows: rows.assign(norm="l2"), "no defense, attack and ε in common"),
    ],
)
def test_nothing_in_common_is_one_sentence(spoil, said, builder, tmp_path, escrime):
    a, b = one(builder, tmp_path / "a"), one(builder, tmp_path / "b")
    for part in (b / "records").glob("*.parquet"):
        spoil(pd.read_parquet(part)).to_parquet(part, index=False)
    words = ("--attack", "FGSM") if said.startswith("has FGSM") else ()
    code, out, err = escrime("compare", a, b, *words)
    assert code == 2 and not out and said in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere' does not exist"),
        (("b", "--attack", "FGSN"), "Did you mean 'FGSM'"),
        (("b", "--eps", "8/255"), "nothing for ε = 8/255"),
        (("b", "--eps", "eight"), "eight"),
    ],
)
def test_mistakes_are_one_sentence(words, said, builder, tmp_path, escrime):
    a, _ = one(builder, tmp_path / "a"), one(builder, tmp_path / "b")
    code, _, err = escrime("compare", a, tmp_path / words[0], *words[1:])
    assert code == 2 and said in err and "Traceback" not in err


def test_what_the_sides_do_not_share_is_said(builder, tmp_path):
    a = one(builder, tmp_path / "a")
    built = builder(40, classes=["tench", "English springer", "radio", "chain saw", "church"]).model("net")
    built.sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "none", "white-box", "stronger", {0.1: 0.2})
    b = built.write(tmp_path / "b")
    path = b / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["experiment"]["attacks"]["DGSM"]["steps"] = 5
    path.write_text(json.dumps(manifest))
    said = " ".join(compare_runs(a, b).warnings)
    assert "one side alone has stronger" in said and "other settings (attacks)" in said
    assert "another label" in said and "'cassette player' against 'radio'" in said


def test_a_worst_case_over_more_is_said(builder, tmp_path):
    """Of one attack at a smaller ε, or of an attacker who ignores the defense, which only one side was shown."""
    plain = one(builder, tmp_path / "plain", shares={0: 1.0, 0.1: 0.5}, n=40)
    finer = one(builder, tmp_path / "finer", shares={0: 1.0, 0.05: 0.3, 0.1: 0.5}, n=40)
    assert any("one side alone was attacked at ε = 0.05" in text for text in compare_runs(finer, plain).warnings)
    same = shutil.copytree(plain, tmp_path / "same")
    assert not any("worst case" in text for text in compare_runs(plain, same).warnings)
    knowing = builder(40).model("net").sweep("net", "ppa", "adaptive", "PGD", {0: 1.0, 0.1: 0.6})
    both = builder(40).model("net").sweep("net", "ppa", "adaptive", "PGD", {0: 1.0, 0.1: 0.6})
    both.sweep("net", "ppa", "transfer", "PGD", {0: 1.0, 0.1: 0.2})
    found = compare_runs(both.write(tmp_path / "both"), knowing.write(tmp_path / "knowing"))
    assert any("not over the same threat levels; one side alone has PGD (transfer)" in text for text in found.warnings)


def test_a_defense_of_one_side_alone_makes_no_worst_case_unlike(builder, tmp_path):
    """A model as it is, against a run that also hardened it: both were attacked by FGSM."""
    before = one(builder, tmp_path / "before", shares={0: 1.0, 0.1: 0.5}, n=40)
    built = builder(40).model("net").sweep("net", "none", "white-box", "FGSM", {0: 1.0, 0.1: 0.5})
    built.sweep("net", "adversarial training", "white-box", "FGSM", {0: 1.0, 0.1: 0.9})
    warned = compare_runs(before, built.write(tmp_path / "hardened")).warnings
    assert not any("worst case" in text for text in warned)


def test_budgets_in_l2_are_no_gray_levels(builder, tmp_path):
    """In l_inf these would read 34/255 and 68/255."""
    sides = []
    for name, grid in (("a", {0: 1.0, 34 / 255: 0.5, 68 / 255: 0.2}), ("b", {0: 1.0, 68 / 255: 0.4})):
        built = builder(40).model("net").sweep("net", "none", "white-box", "FGSM", grid)
        built.parts = [part | {"norm": np.full(40, "l2")} for part in built.parts]
        sides.append(built.write(tmp_path / name))
    found = compare_runs(*sides)
    assert any("one side alone was attacked at ε = 0.133333." in text for text in found.warnings)
    assert [cells[1] for cells in map(row, found.pairs)] == ["", "0.266667", "0.266667"]


def test_the_terminal_shows_a_table_and_json_nothing_else(builder, tmp_path, escrime):
    a, b = one(builder, tmp_path / "a"), one(builder, tmp_path / "b", shares={0: 1.0, 0.1: 0.75})
    code, out, _ = escrime("compare", a, b)
    assert code == 0 and "50.0 [35–65]" in out and "75.0 [60–86]" in out and "▲" in out and "+25.0 [" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "[" in line)
    code, out, _ = escrime("compare", a, b, "--json")
    assert code == 0 and json.loads(out)["rows"][1]["verdict"] == "better"
