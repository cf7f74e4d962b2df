"""`escrime tune`: from a model and a dataset to a chosen ε_max and N, in a folder that is never computed twice."""

import csv
import json
import shutil
from functools import partial

import pytest
from typer.testing import CliRunner

import escrime
from escrime import EscrimeError
from escrime.cli import app
from escrime.data import load
from escrime.evaluation import shared_copies
from escrime.models import save_weights
from escrime.training import TrainSettings

SMALL = ("--eps", "0.1", "--eps-max", "0.05,0.3", "--samples", "2,4", "--limit", "40", "--steps", "3")


def call(*arguments):
    result = CliRunner().invoke(app, ["tune", *map(str, arguments), "--device", "cpu"])
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """A lenet that reads digits."""
    train, _ = load("digits")
    model = escrime.build("lenet", classes=10, seed=0)
    escrime.fit(model, train.limit(300), settings=TrainSettings(epochs=6, learning_rate=0.05, batch_size=32))
    path = tmp_path_factory.mktemp("weights") / "lenet.safetensors"
    save_weights(model, path, {"classes": [str(digit) for digit in range(10)], "size": 8})
    return f"lenet@{path}"


@pytest.fixture(scope="module")
def tuned(lenet, tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "run"
    return call("--model", lenet, "--data", "digits", "--out", out, *SMALL), out


def read(out):
    return json.loads((out / "tune.json").read_text(encoding="utf-8"))


def test_the_folder_holds_the_answer(tuned):
    result, out = tuned
    assert result.exit_code == 0, result.output
    found = read(out)
    assert found["kind"] == "tuning" and found["versions"]["torch"] and found["hardware"]["device"] == "cpu"
    assert found["images"] == {"choosing": 20, "validating": 20} and found["validation"]["n"] == 20
    with open(out / "tune.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(float(row["eps_max"]), int(row["samples"])) for row in rows] == [(0, 1), (0.05, 2), (0.05, 4), (0.3, 2), (0.3, 4)]
    for row, known in zip(rows, found["rows"]):
        assert float(row["clean"]) == pytest.approx(known["clean"])
        assert float(row["clean_low"]) <= float(row["clean"]) <= float(row["clean_high"])
        assert known["mean"] == pytest.approx((known["clean"] + known["attacked"]) / 2)
    chosen = [row for row in found["rows"] if row["chosen"]]
    assert [{"eps_max": row["eps_max"], "samples": row["samples"]} for row in chosen] == [found["chosen"]]
    assert found["passes_per_image"]["times_as_many_unshared"] == 1.5
    for name in ("pareto.png", "pareto.svg"):
        assert (out / name).stat().st_size > 5000
    for word in ("undefended", "best", "adaptive", "pareto.png"):
        assert word in result.output, word
    assert found["verdict"] in " ".join(result.output.split())


def test_the_figure_says_what_it_shows(tuned):
    text = (tuned[1] / "pareto.svg").read_text(encoding="utf-8")
    for word in (
        "ε_max = 0.05",
        "ε_max = 0.3",
        "N = 4",
        "undefended",
        "chosen",
        "Pareto front",
        "faint: transfer",
        "n = 20",
        "solid: adaptive or transfer",
    ):
        assert word in text, word


def test_again_computes_nothing_and_json_is_alone(tuned, lenet, monkeypatch):
    out = tuned[1]
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    def never(*arguments, **settings):
        raise AssertionError("computed again")

    monkeypatch.setattr("escrime.commands.tune.tune.measure", never)
    monkeypatch.setattr("escrime.commands.tune.tune.conclude", never)
    result = call("--model", lenet, "--data", "digits", "--out", out, *SMALL, "--json")
    assert json.loads(result.stdout) == read(out)
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.parametrize(
    ("change", "said"),
    [(("--steps", "4"), "settings.steps was 3, now 4"), (("--limit", "60"), "limit"), (("--against", "transfer"), "against")],
)
def test_a_folder_answers_one_question(change, said, tuned, lenet):
    with pytest.raises(EscrimeError, match=f"belongs to another experiment .*{said}"):
        call("--model", lenet, "--data", "digits", "--out", tuned[1], *SMALL, *change)


def test_other_weights_in_the_same_file_do_not_get_the_old_answer(lenet, tuned):
    path, out = lenet.removeprefix("lenet@"), tuned[1]
    before, answer = open(path, "rb").read(), (out / "tune.json").read_bytes()
    try:
        classes = [str(digit) for digit in range(10)]
        save_weights(escrime.build("lenet", classes=10, seed=5), path, {"classes": classes, "size": 8})
        with pytest.raises(EscrimeError, match="when it had other weights"):
            call("--model", lenet, "--data", "digits", "--out", out, *SMALL)
    finally:
        open(path, "wb").write(before)
    assert (out / "tune.json").read_bytes() == answer


def begun(tuned, tmp_path):
    """A copy of the folder as it is before the validation."""
    out = tmp_path / "run"
    shutil.copytree(tuned[1], out)
    kept = {name: read(out)[name] for name in ("kind", "settings", "dataset")}
    (out / "tune.json").write_text(json.dumps(kept), encoding="utf-8")
    return out


def noting(made, measure, radius, *arguments):
    made.append(radius)
    return measure(radius, *arguments)


def test_an_interrupted_folder_goes_on(tuned, lenet, tmp_path, monkeypatch):
    """The measured parts are read, one that is missing is made; the validation is made again, and says the same."""
    out, whole = begun(tuned, tmp_path), read(tuned[1])
    (out / "tune.csv").unlink()
    (out / "parts" / "ppa--0.3--00000.parquet").unlink()
    left = out / "parts" / ".ppa--0.3--00000.parquet.ab12_x9z.partial"  # of a process that was killed
    left.write_text("half")
    made = []
    monkeypatch.setattr(shared_copies, "_measure", partial(noting, made, shared_copies._measure))
    call("--model", lenet, "--data", "digits", "--out", out, *SMALL)
    assert made == [0.3] and not left.exists()
    assert sorted(path.name for path in (out / "parts").iterdir()) == [f"ppa--{eps}--00000.parquet" for eps in ("0.05", "0.3")]
    again = read(out)
    for name in ("rows", "chosen", "validation", "passes_per_image", "verdict"):
        assert again[name] == whole[name], name
    assert (out / "tune.csv").read_bytes() == (tuned[1] / "tune.csv").read_bytes()


def test_a_damaged_slice_is_named(tuned, lenet, tmp_path):
    out = begun(tuned, tmp_path)
    (out / "parts" / "ppa--0.3--00000.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(EscrimeError, match="ppa--0.3--00000.parquet cannot be read .* delete that part and run again"):
        call("--model", lenet, "--data", "digits", "--out", out, *SMALL)


def test_an_unfinished_folder_of_an_earlier_version_is_refused(tuned, lenet, tmp_path):
    """Its parts held all ε_max of a slice; read beside those of this version they would count twice."""
    out = begun(tuned, tmp_path)
    before = (out / "tune.json").read_bytes()
    (out / "parts" / "ppa--0.3--00000.parquet").rename(out / "parts" / "00000.parquet")
    with pytest.raises(EscrimeError, match=r"parts holds 00000.parquet, which this version .* delete .*parts to measure again"):
        call("--model", lenet, "--data", "digits", "--out", out, *SMALL)
    assert (out / "tune.json").read_bytes() == before and (out / "parts" / "00000.parquet").exists()
    shutil.rmtree(out / "parts")
    call("--model", lenet, "--data", "digits", "--out", out, *SMALL)
    assert read(out)["rows"] == read(tuned[1])["rows"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--samples", "2,four"), "--samples '2,four'"),
        (("--samples", "0"), "samples = 0"),
        (("--eps-max", "0"), "noise of radius 0"),
        (("--against", "adaptiv"), "Did you mean 'adaptive'"),
        (("--limit", "12"), "12 images"),
        (("--data", "digit"), "digit"),
    ],
)
def test_what_cannot_be_tuned_is_refused(change, said, lenet, tmp_path):
    with pytest.raises(EscrimeError, match=said):
        call("--model", lenet, "--data", "digits", "--out", tmp_path / "run", *SMALL, *change)
    assert not (tmp_path / "run").exists()


def test_a_black_box_and_a_strangers_folder_are_refused(lenet, tmp_path):
    (tmp_path / "mine.py").write_text("def box():\n    return lambda x: x.reshape(len(x), -1)[:, :10]\n")
    with pytest.raises(EscrimeError, match="gives no gradients"):
        call("--model", f"{tmp_path / 'mine.py'}:box", "--data", "digits", "--size", "8", "--out", tmp_path / "run", *SMALL)
    (tmp_path / "parts").mkdir()
    with pytest.raises(EscrimeError, match="exists and holds no tune.json"):
        call("--model", lenet, "--data", "digits", "--out", tmp_path, *SMALL)


def test_a_file_is_no_folder(lenet, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(EscrimeError, match="notes.md is a file; give another folder with --out"):
        call("--model", lenet, "--data", "digits", "--out", tmp_path / "notes.md", *SMALL)
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_hopeless_data_are_told_and_nothing_is_recommended(tmp_path):
    """A network that has learned nothing: refused, and with --anyway one sentence with the reason."""
    save_weights(escrime.build("lenet", classes=10, seed=3), tmp_path / "raw.safetensors", {"size": 8})
    spec = ("--model", f"lenet@{tmp_path / 'raw.safetensors'}", "--data", "digits", "--out", tmp_path / "run", *SMALL)
    with pytest.raises(EscrimeError, match="not clearly better than guessing"):
        call(*spec)
    result = call(*spec, "--anyway")
    found = read(tmp_path / "run")
    assert found["verdict"].startswith("Cannot tell what to choose") and found["undecided"] in found["verdict"]
    assert "commonest class" in found["undecided"] or "none of" in found["undecided"]
    said = " ".join(result.output.split())
    assert found["verdict"] in said and "chosen" not in said
