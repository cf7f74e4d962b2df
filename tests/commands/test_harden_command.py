"""`escrime harden`: the same network before and after adversarial fine-tuning, judged alike."""

import json

import pytest
import torch
from typer.testing import CliRunner

import escrime
from escrime import EscrimeError, load_model
from escrime.cli import app
from escrime.commands.harden import harden as making
from escrime.commands.harden.estimate import Expected
from escrime.evaluation import read_records


def call(*arguments):
    result = CliRunner().invoke(app, ["harden", *map(str, arguments), "--device", "cpu"])
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def hardened(weights, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("harden") / "run"
    more = ("--eps", "0.03", "--epochs", "6", "--attack", "FGSM,PGD", "--set", "learning_rate=0.03", "--set", "batch_size=16")
    return call("--model", weights, "--data", pictures, "--out", out, *more), out


def test_before_and_after_in_one_report(hardened):
    result, out = hardened
    assert result.exit_code == 0, result.output
    records = read_records(out)
    assert set(records.defense) == {"none", "adversarial-training"}
    assert set(records[records.defense == "adversarial-training"].threat) == {"transfer", "adaptive"}
    assert records.image.nunique() == 18, "a fifth of the images, which the fine-tuning has not seen"
    left = records[records.eps > 0].groupby(["defense", "image"]).correct.min().groupby("defense").mean()
    assert left["adversarial-training"] > left["none"]
    assert "adversarial training" in (out / "report.html").read_text().lower()
    assert "lenet with adversarial training keeps" in result.output
    settings = json.loads((out / "manifest.json").read_text())["experiment"]
    assert settings["objective"]["name"] == "n-fgsm" and settings["training"]["epochs"] == 6


def test_the_weights_can_be_used(hardened, weights):
    path = hardened[1] / "weights.safetensors"
    found = load_model(f"lenet@{path}")
    assert found.classes == ("ant", "bee", "cat") and found.size == 8
    before = load_model(weights).model.state_dict()
    assert any((found.model.state_dict()[key] - tensor).abs().max() > 1e-3 for key, tensor in before.items())


def test_settings_of_a_teacher_are_no_part_of_it(hardened):
    """It has none; and folders of versions that knew of none are continued."""
    manifest = json.loads((hardened[1] / "manifest.json").read_text())
    assert manifest["experiment"]["training"]["epochs"] and "temperature" not in manifest["experiment"]["training"]


def test_again_computes_nothing(hardened, weights, pictures):
    out = hardened[1]
    times = {path: path.stat().st_mtime_ns for path in [*(out / "records").iterdir(), out / "weights.safetensors"]}
    more = ("--eps", "0.03", "--epochs", "6", "--attack", "FGSM,PGD", "--set", "learning_rate=0.03", "--set", "batch_size=16")
    call("--model", weights, "--data", pictures, "--out", out, *more)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    with pytest.raises(EscrimeError, match="belongs to another experiment .experiment.training.epochs was 6, now 5"):
        call("--model", weights, "--data", pictures, "--out", out, *more[:2], *more[4:])


def test_what_cannot_be_trained_is_refused(weights, pictures, tmp_path):
    (tmp_path / "mine.py").write_text("def box():\n    return lambda x: x.mean((2, 3))\n")
    for spec, more, said in (
        (f"{tmp_path / 'mine.py'}:box", (), "gives no gradients"),
        (weights, ("--objective", "trads"), "Did you mean 'trades'"),
        (weights, ("--set", "epochs=0"), "epochs"),
        (weights, ("--set", "colour=1"), "colour"),
    ):
        with pytest.raises(EscrimeError, match=said):
            call("--model", spec, "--data", pictures, "--eps", "0.05", "--out", tmp_path / "run", *more)
        assert not (tmp_path / "run").exists()


def test_it_says_how_long_it_takes_and_whether_it_was_worth_it(hardened):
    said = " ".join(hardened[0].output.split())
    assert "Fine-tune by n-fgsm at ε = 0.03 for 6 epochs on 72 images of 8 pixels; judge the model before and after" in said
    assert said.index("Fine-tune by") < said.index("About ") < said.index("Harden (n-fgsm): done")
    assert said.index("Harden (n-fgsm): done") < said.index(" to go, by what it withstands of the images held back.")
    table, sentence = said.partition("% of 18 images right, before and after")[2], said.rpartition(" points (95 %). ")[0][-80:]
    for row in ("clean", "FGSM, ε = 0.03", "PGD, ε = 0.03", "worst case of all, ε = 0.03"):
        assert row in table
    assert sum(words in sentence for words in ("Worth it: robust", "Not worth it: robust", "Cannot tell: robust")) == 1
    assert table.count("paired exact test p") == 2


def test_as_json_it_says_the_same_and_nothing_else(hardened, weights, pictures):
    said, out = hardened
    more = ("--eps", "0.03", "--epochs", "6", "--attack", "FGSM,PGD", "--set", "learning_rate=0.03", "--set", "batch_size=16")
    again = call("--model", weights, "--data", pictures, "--out", out, *more, "--json")
    found = json.loads(again.stdout)
    assert found == json.loads((out / "answer.json").read_text()) and found["sentence"] in " ".join(said.output.split())
    assert [row["attack"] for row in found["rows"]] == ["clean", "FGSM", "PGD", "worst case"]
    records = read_records(out)
    for row in found["rows"][1:3]:
        at = records[(records.attack == row["attack"]) & (records.eps > 0) & (records.threat != "transfer")]
        right = at.groupby("defense").correct.mean()
        assert (row["before"], row["after"]) == pytest.approx((right["none"], right["adversarial-training"]))
        assert row["eps"] == 0.03 and row["n"] == 18
    assert found["worth_it"] in (True, False, None) and len(found["verdicts"]) == 2
    assert found["headline"] in " ".join(said.output.split()) and found["ruined"] is False
    assert found["objective"] == {"name": "n-fgsm", "eps": 0.03} | found["objective"] and found["batchnorm"] is None
    assert found["epochs"] == 6 and found["learning_rate"] == 0.03 and found["training"]["batch_size"] == 16
    assert [(row["attack"], "0.03" in row["settings"]) for row in found["attacks"]] == [("FGSM", True), ("PGD", True)]


def test_a_transfer_costs_nothing_on_what_is_wrong_already(hardened):
    rows = read_records(hardened[1]).query("threat == 'transfer' and attack == 'PGD' and eps > 0")
    wrong = rows["clean_prediction"] != rows["label"]
    assert ((rows["forwards"] + rows["backwards"] > 0) == ~wrong).all() and not wrong.all()


def test_within_a_budget_as_many_epochs_as_fit(weights, pictures, tmp_path, monkeypatch, undrawn):
    """Chosen once: the folder keeps them under another budget and without one."""
    seconds = [500.0]
    monkeypatch.setattr(making, "expected", lambda *about: Expected(seconds[0], 1.0, 1.0))
    more = ("--model", weights, "--data", pictures, "--eps", "0.03", "--attack", "FGSM", "--out", tmp_path / "run")
    with pytest.raises(EscrimeError, match="one epoch of fine-tuning would take about 8 min"):
        call(*more, "--budget", "480s")
    with pytest.raises(EscrimeError, match="9 epochs of fine-tuning would take about 75 min"):
        call(*more, "--budget", "2000s", "--epochs", "9")
    assert not (tmp_path / "run").exists()
    assert "for 2 epochs" in call(*more, "--budget", "1100s").output
    seconds[0] = 1.0
    (tmp_path / "run" / "verdict.json").unlink()
    for changed in (("--budget", "1h"), ()):
        call(*more, *changed)
        settings = json.loads((tmp_path / "run" / "manifest.json").read_text())["experiment"]
        assert settings["training"]["epochs"] == 2
    with pytest.raises(EscrimeError, match="training.epochs was 2, now 3"):
        call(*more, "--epochs", "3")


SLOW = ("--set", "learning_rate=0.0001")  # the statistics alone are what would ruin it
FOLDED = """
import math
import torch

def load():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 1, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, 2, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(256, 3),
    )
    model.load_state_dict(torch.load(r"WEIGHTS", weights_only=True))
    return model.eval()
"""


@pytest.fixture(scope="module")
def folded(pictures, quick_checks, tmp_path_factory):
    """mine.py:load: a network that learned with its BatchNorm folded away, its channels at scales of their own."""
    folder = tmp_path_factory.mktemp("folded")
    scope = {}
    (folder / "weights.pt").write_bytes(b"")
    source = FOLDED.replace("WEIGHTS", str(folder / "weights.pt"))
    exec(source.replace("model.load_state_dict", "# "), scope)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = scope["load"]()
    train = escrime.data.load_to_judge(pictures, 8)
    settings = escrime.training.TrainSettings(epochs=12, learning_rate=0.02, batch_size=16, freeze_batchnorm=True)
    escrime.fit(model, train, settings=settings)
    with torch.no_grad():
        for at, following, each in ((0, 3, 1), (3, 7, 16)):
            scale = torch.exp(torch.linspace(-5, 5, 16))[torch.randperm(16, generator=torch.Generator().manual_seed(at))]
            model[at].weight *= scale[:, None, None, None]
            model[at].bias *= scale
            model[at + 1].bias *= scale
            model[following].weight /= scale.repeat_interleave(each).reshape((1, 16, 1, 1) if each == 1 else (1, 256))
    torch.save(model.state_dict(), folder / "weights.pt")
    (folder / "mine.py").write_text(source)
    return f"{folder / 'mine.py'}:load"


def test_batchnorm_that_was_folded_away_is_left_alone(folded, pictures, tmp_path, undrawn):
    """Its running statistics, and so the model, would not survive training mode; unless somebody asks for that."""
    more = ("--model", folded, "--data", pictures, "--size", "8", "--eps", "0.03", "--attack", "FGSM", "--epochs", "2", *SLOW)
    said = " ".join(call(*more, "--out", tmp_path / "run").output.split())
    assert (
        "note: BatchNorm keeps its running statistics (freeze_batchnorm = true): with the statistics of batches of 32" in said
    )
    found = json.loads((tmp_path / "run" / "answer.json").read_text())
    settings = json.loads((tmp_path / "run" / "manifest.json").read_text())["experiment"]
    assert found["batchnorm"] == settings["batchnorm"] and found["batchnorm"] in said
    assert settings["training"]["freeze_batchnorm"] is True
    clean = found["rows"][0]
    assert clean["before"] > 0.7 and clean["after"] > clean["before"] - 0.15
    times = (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    for chosen in ((), ("--set", "freeze_batchnorm=true")):  # the same training
        call(*more, "--out", tmp_path / "run", *chosen)
    assert times == (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    with pytest.raises(EscrimeError, match="freeze_batchnorm was True, now False"):
        call(*more, "--out", tmp_path / "run", "--set", "freeze_batchnorm=false")


def test_whoever_wants_batchnorm_trained_is_warned(folded, pictures, tmp_path, undrawn):
    more = (
        "--model",
        folded,
        "--data",
        pictures,
        "--size",
        "8",
        "--eps",
        "0.03",
        "--attack",
        "FGSM",
        "--epochs",
        "2",
        "--set",
        "learning_rate=1",
    )
    said = " ".join(call(*more, "--set", "freeze_batchnorm=false", "--out", tmp_path / "run").output.split())
    assert "warning: freeze_batchnorm = false, as you asked, may ruin the model: with the statistics of batches" in said
    found = json.loads((tmp_path / "run" / "answer.json").read_text())
    assert found["training"]["freeze_batchnorm"] is False and found["batchnorm"] in said
    with pytest.raises(EscrimeError, match="freeze_batchnorm was False, now True"):
        call(*more, "--out", tmp_path / "run")
