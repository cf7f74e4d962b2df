"""`escrime evaluate --surrogate` and `--deployed`: networks beside the model, of other classes, sizes and forms."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import escrime
from escrime import EscrimeError
from escrime.cli import app
from escrime.commands.evaluate.beside import to_be_made
from escrime.commands.shared.threats import Threat
from escrime.evaluation import read_records
from escrime.models import save_weights
from escrime.results.records import read_deployed

pytestmark = pytest.mark.slow

MADE = "MI-DI-TI-FGSM-transfer"


def call(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def ask(model, pictures, out, *more, eps="0.05", limit="15"):
    start = ("evaluate", "--model", model, "--data", pictures, "--limit", limit, "--device", "cpu", "--out", out)
    return call(*start, "--eps", eps, *more)


def trained(pictures, folder, name, seed, classes=("ant", "bee", "cat"), side=8, order=(0, 1, 2)):
    """A network that was trained on pictures of `side` pixels, its classes in another order and with others among them."""
    from dataclasses import replace

    data = escrime.data.load_to_judge(pictures, side)
    model = escrime.build("lenet", len(classes), seed=seed)
    moved = replace(data, labels=np.array(order)[data.labels], classes=tuple(classes))
    settings = escrime.training.TrainSettings(epochs=12, learning_rate=0.05, batch_size=16)
    escrime.fit(model, moved, settings=settings)
    save_weights(model, folder / f"{name}.safetensors", {"classes": list(classes), "size": side})
    return f"lenet@{folder / name}.safetensors"


@pytest.fixture(scope="module")
def relative(pictures, quick_checks, tmp_path_factory):
    return trained(pictures, tmp_path_factory.mktemp("relative"), "relative", 7)


@pytest.fixture(scope="module")
def stranger(pictures, quick_checks, tmp_path_factory):
    """Four classes in another order, images of 12 pixels."""
    folder = tmp_path_factory.mktemp("stranger")
    return trained(pictures, folder, "stranger", 8, ("dog", "cat", "ant", "bee"), 12, order=(2, 3, 1))


def right(records, attack, **case):
    own = records[(records.attack == attack) & (records.eps > 0)]
    return own.correct.mean()


def test_the_model_as_its_own_surrogate_gives_about_its_own_numbers(weights, pictures, tmp_path):
    result = ask(weights, pictures, tmp_path / "run", "--surrogate", weights, "--attack", "PGD")
    assert result.exit_code == 0, result.output
    records = read_records(tmp_path / "run")
    assert set(zip(records.attack, records.threat)) >= {("PGD", "white-box"), ("PGD-transfer", "transfer")}
    assert right(records, "PGD-transfer") == pytest.approx(right(records, "PGD"), abs=0.07) and right(records, "PGD") < 0.7
    found = json.loads((tmp_path / "run" / "answer.json").read_text())
    assert {(row["attack"], row["threat"]) for row in found["attacks"]} >= {("PGD-transfer", "transfer"), ("PGD", "white-box")}
    told = f"(gets {found['surrogates'][0]['right']} of {found['surrogates'][0]['of']} images right)"
    assert told in (tmp_path / "run" / "report.html").read_text(), "on the page"
    assert found["surrogates"][0]["right"] >= 13 and "was made on lenet@" in " ".join(result.output.split())
    page = (tmp_path / "run" / "report.html").read_text()
    assert "PGD-transfer" in page and "transfer" in page


def test_a_black_box_beside_square_on_surrogates_of_other_classes_and_size(weights, pictures, relative, stranger, tmp_path):
    out = tmp_path / "run"
    more = ("--access", "scores", "--surrogate", f"{relative},{stranger}", "--attack", "Square,FGSM")
    result = ask(weights, pictures, out, *more)
    assert result.exit_code == 0, result.output
    records = read_records(out)
    asked = records[~records.attack.str.startswith("stronger")]
    assert set(zip(asked.attack, asked.threat)) == {("Square", "black-box"), ("FGSM-transfer", "transfer")}
    found = json.loads((out / "answer.json").read_text())
    assert [one["right"] >= 12 for one in found["surrogates"]] == [True, True], "classes and sizes are matched"
    assert found["robust"]["accuracy"] <= min(right(records, name) for name in ("Square", "FGSM-transfer"))
    assert "outputs only, and has surrogates," in found["verdict"]["sentence"]
    before = sorted((path.name, path.stat().st_mtime) for path in (out / "records").iterdir())
    assert ask(weights, pictures, out, *more).exit_code == 0
    assert before == sorted((path.name, path.stat().st_mtime) for path in (out / "records").iterdir())
    with pytest.raises(EscrimeError, match="another|other"):
        ask(weights, pictures, out, "--access", "scores", "--surrogate", relative, "--attack", "Square,FGSM")


def test_by_default_it_is_mi_di_ti_fgsm_and_alone_it_is_not_believed(weights, pictures, relative, tmp_path):
    result = ask(weights, pictures, tmp_path / "both", "--access", "labels", "--surrogate", relative)
    assert set(read_records(tmp_path / "both").attack) >= {"RayS", MADE} and MADE in result.output
    more = ("--access", "labels", "--surrogate", relative, "--attack", "PGD", "--strict")
    result = ask(weights, pictures, tmp_path / "alone", *more)
    assert result.exit_code == 3 and "all examples were made on surrogates" in result.output
    assert set(read_records(tmp_path / "alone").threat) == {"transfer"}


def test_several_threats_have_one_each(weights, pictures, relative, tmp_path):
    start = ("evaluate", "--model", weights, "--data", pictures, "--limit", "9", "--device", "cpu", "--out", tmp_path / "run")
    assert (
        call(*start, "--threat", "linf:0.05,l2:0.3,spatial", "--surrogate", relative, "--attack", "PGD,Spatial").exit_code == 0
    )
    records = read_records(tmp_path / "run")
    made = records[records.threat == "transfer"]
    assert set(zip(made.attack, made.norm)) == {("PGD-transfer", "linf"), ("PGD-transfer-l2", "l2")}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{box}", "gives away scores only, and examples are made by gradients"),
        ("{other}", "the images have a class 'ant' that surrogate .* does not know"),
        ("nothing@there", "architecture 'nothing' is unknown"),
    ],
)
def test_what_is_no_surrogate_is_refused_and_nothing_written(weights, pictures, tmp_path, spec, words):
    (tmp_path / "box.py").write_text("import numpy\ndef ask():\n    return lambda x: numpy.zeros((len(x), 3), 'float32')\n")
    model = escrime.build("lenet", 3, seed=0)
    save_weights(model, tmp_path / "other.safetensors", {"classes": ["dog", "cow", "pig"], "size": 8})
    spec = spec.format(box=f"{tmp_path}/box.py:ask", other=f"lenet@{tmp_path}/other.safetensors")
    with pytest.raises(EscrimeError, match=words):
        ask(weights, pictures, tmp_path / "run", "--surrogate", spec)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def rounded(weights, pictures, tmp_path_factory):
    """The network of `weights` with 8-bit weights, as a black box: numpy in, scores out."""
    folder = tmp_path_factory.mktemp("rounded")
    (folder / "int8.py").write_text(
        f"""
import torch
from escrime.models import load_model

def ask():
    model = load_model({weights!r}).model
    for parameter in model.parameters():
        step = parameter.data.abs().max() / 7
        parameter.data = (parameter.data / step).round() * step
    def scores(images):
        with torch.no_grad():
            return model(torch.from_numpy(images)).numpy()
    return scores
"""
    )
    return f"{folder}/int8.py:ask"


def test_what_is_deployed_is_judged_on_the_same_examples(weights, pictures, rounded, relative, tmp_path):
    out = tmp_path / "run"
    result = ask(weights, pictures, out, "--attack", "FGSM,PGD", "--surrogate", relative, "--deployed", rounded, limit="30")
    assert result.exit_code == 0, result.output
    found = json.loads((out / "answer.json").read_text())
    rows = {row["name"]: row for row in found["deployment"]}
    assert set(rows) == {
        "clean images", *(f"{name}, ε = 0.05" for name in ("FGSM", "PGD", "FGSM-transfer", "PGD-transfer", "worst case"))
    }  # fmt: skip
    counts = ("both_right", "only_model_wrong", "only_deployed_wrong", "both_wrong")
    assert all(sum(row[name] for name in counts) == row["n"] == 30 for row in rows.values())
    assert rows["PGD, ε = 0.05"]["both_wrong"] > rows["clean images"]["both_wrong"]
    assert "only deployed" in result.output and "shown to what is deployed" in result.output
    shown = read_deployed(out)
    assert set(shown.threat) == {"deployed"} and "deployed" not in set(read_records(out).threat)
    for style in ("md", "json"):
        text = call("report", out, "--format", style).output
        assert "PGD-transfer" in text and "both_right" in text or "both right" in text
    assert "int8" in (out / "report.html").read_text() and "only the deployed" in (out / "report.html").read_text()


def test_what_is_wrong_with_the_deployed_model_is_said(weights, pictures, tmp_path):
    (tmp_path / "batch.py").write_text(
        """
import torch
class Together(torch.nn.Module):
    def forward(self, x):
        scores = x.flatten(1)[:, 20:23] * 9
        return scores + 3 * scores.mean(0)
"""
    )
    result = ask(weights, pictures, tmp_path / "run", "--attack", "PGD", "--deployed", f"{tmp_path}/batch.py:Together")
    assert result.exit_code == 0, result.output
    found = {one["id"]: one for one in json.loads((tmp_path / "run" / "answer.json").read_text())["deployed_findings"]}
    assert found["batch-dependent"]["severity"] == "alarm"
    assert "What is deployed: The logits of" in " ".join(result.output.split())


def test_the_same_weights_deployed_leave_the_diagonal_and_another_network_does_not(weights, pictures, stranger, tmp_path):
    assert ask(weights, pictures, tmp_path / "same", "--attack", "PGD", "--deployed", weights).exit_code == 0
    for row in json.loads((tmp_path / "same" / "answer.json").read_text())["deployment"]:
        assert row["only_model_wrong"] == row["only_deployed_wrong"] == row["differ"] == 0 and row["p"] == 1
    assert ask(weights, pictures, tmp_path / "other", "--attack", "PGD", "--deployed", stranger).exit_code == 0
    rows = json.loads((tmp_path / "other" / "answer.json").read_text())["deployment"]
    assert rows[0]["deployed"] > 0.8, "its classes are in another order"
    assert rows[1]["only_model_wrong"] > 0 and rows[1]["p"] < 1


def test_a_stopped_evaluation_goes_on_with_the_same_examples(weights, pictures, relative, tmp_path):
    """Rows of the deployed model that are lost, or not written yet, are made again on the examples of before."""
    out, more = tmp_path / "run", ("--attack", "PGD", "--surrogate", relative, "--deployed", relative)
    assert ask(weights, pictures, out, *more).exit_code == 0
    before, records = read_deployed(out), read_records(out)
    store = sorted((out / "deployed").iterdir())
    assert len(store) == 2
    for path in store:
        path.unlink()
    (out / "records" / next(path.name for path in (out / "records").iterdir() if "PGD-transfer" in path.name)).unlink()
    assert ask(weights, pictures, out, *more).exit_code == 0
    order = ["attack", "eps", "image"]
    for old, new in ((before, read_deployed(out)), (records, read_records(out))):
        old, new = (rows.sort_values(order, ignore_index=True).drop(columns="forwards") for rows in (old, new))
        pd.testing.assert_frame_equal(old, new, check_exact=False, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "made"), [(["FGSM", "UniversalPGD"], {"FGSM-transfer"}), (["UniversalPGD"], {"MI-DI-TI-FGSM-transfer"})]
)
def test_what_is_fitted_to_the_model_is_not_made_on_surrogates(names, made):
    assert set(to_be_made(Threat("linf", (0.1,)), names, 8)) == made


def test_the_page_of_surrogates_alone_has_its_first_lines(weights, pictures, relative, tmp_path):
    out = tmp_path / "run"
    more = ("--access", "labels", "--surrogate", relative, "--attack", "PGD", "--fail-under", "0.99")
    assert ask(weights, pictures, out, *more).exit_code == 4, "what is not believed is no less a number"
    text = " ".join((out / "report.html").read_text().split())
    assert "PGD-transfer at ε = 0.05 takes" in text and "was not attacked" not in text and "Surrogates" in text
    result = call("board", out.parent, "--out", tmp_path / "board.html")
    assert result.exit_code == 0 and "has surrogates" in (tmp_path / "board.html").read_text()


FORMS = """
import torch
from escrime.models import load_model
raw = load_model({weights!r}).model

class Bare(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.raw = raw
    def forward(self, x):
        return self.raw(x * 0.25 + 0.5)

def network():
    return Bare()

def bare():
    return lambda x: Bare()(torch.from_numpy(x)).detach().numpy()

def whole():
    return lambda x: raw(torch.from_numpy(x)).detach().numpy()
"""


def test_the_normalization_of_the_model_is_for_what_is_deployed_where_that_needs_it(weights, pictures, tmp_path):
    """A network of normalized images; deployed as it is, and with the normalization inside."""
    (tmp_path / "forms.py").write_text(FORMS.format(weights=weights))
    for name, words in (("bare", "normalized by --mean"), ("whole", "without --mean")):
        more = ("--attack", "FGSM", "--deployed", f"{tmp_path}/forms.py:{name}", "--mean", "0.5", "--std", "0.25")
        more += ("--size", "8")
        result = ask(f"{tmp_path}/forms.py:network", pictures, tmp_path / name, *more)
        assert result.exit_code == 0 and words in " ".join(result.output.split()), result.output
        clean = json.loads((tmp_path / name / "answer.json").read_text())["deployment"][0]
        assert clean["differ"] == 0 and clean["deployed"] > 0.9
