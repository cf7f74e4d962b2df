"""`escrime harden`: the same network before and after adversarial fine-tuning, judged alike."""

import json

import pytest
from typer.testing import CliRunner

from escrime import EscrimeError, load_model
from escrime.cli import app
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
