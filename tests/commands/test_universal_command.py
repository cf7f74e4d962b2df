"""`escrime evaluate` with universal attacks: what it keeps of them, and that it goes on where it was."""

import json

import pytest
import torch
from typer.testing import CliRunner

from escrime import EscrimeError
from escrime.attacks import UniversalPatch
from escrime.attacks.core import universal
from escrime.cli import app
from escrime.commands.shared import perturbations
from escrime.evaluation import read_records
from escrime.evaluation.universal import Perturbations
from escrime.training.checkpoint import write_tensors

pytestmark = pytest.mark.slow


def call(*arguments):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_patches_to_print_and_an_evaluation_that_goes_on(weights, pictures, tmp_path, monkeypatch):
    fits, fit = [], universal.Universal.fit
    monkeypatch.setattr(universal.Universal, "fit", lambda *a, **k: fits.append(fit(*a, **k)) or fits[-1])
    out = tmp_path / "run"
    asked = ("--model", weights, "--data", pictures, "--threat", "linf:0.1,patch:3", "--out", out, "--device", "cpu")
    asked += ("--attack", "FGSM,UniversalPGD,UniversalPatch", "--limit", "24")
    result = call(*asked)
    assert result.exit_code == 0 and "UniversalPatch" in result.output and "UniversalPGD" in result.output
    assert "One perturbation for all images (UniversalPGD and UniversalPatch): its" in result.output
    found, records = json.loads((out / "answer.json").read_text()), read_records(out)
    assert records.groupby("attack")["image"].nunique()["UniversalPatch"] == 24
    names = [f"lenet--none--white-box--UniversalP{rest}-half{n}.png" for rest in ("GD-eps0.1", "atch-eps3") for n in (1, 2)]
    shown = sorted(path.name for path in (out / "perturbations").glob("*.png"))
    assert shown == sorted(names) and found["perturbations"] == [str(out / "perturbations" / name) for name in shown]
    assert len(fits) == 4, "one for each half; the pictures of the page are of those"
    patches = [one for one in fits if one.attack.name == "UniversalPatch"]
    for number, own in enumerate(patches, 1):
        read = UniversalPatch(3).read(out / "perturbations" / f"lenet--none--white-box--UniversalPatch-eps3-half{number}.png")
        assert torch.equal(read.made[3.0], own.made[3.0])
    before = {path: path.read_bytes() for path in (out / "records").glob("*Universal*")}
    for path in before:
        path.unlink()
    call(*asked)
    assert {path: path.read_bytes() for path in before} == before and len(fits) == 4, "what was fitted is taken from the folder"


def test_what_was_fitted_comes_back_from_the_folder(tmp_path):
    made = {(half, eps): torch.randn(3, 4, 4) for half in (0, 1) for eps in (8 / 255, 0.1)}
    kept = Perturbations(made, (10.0, 20.0), (5.0, 6.5), "abc")
    shown = {which: one.abs().clamp_max(1) for which, one in made.items()}
    perturbations.write(tmp_path, "m--none--white-box--U", kept, shown)
    found = perturbations.read(tmp_path, "m--none--white-box--U")
    assert found is not None and perturbations.read(tmp_path, "other") is None
    assert (found.forwards, found.backwards, found.digest) == (kept.forwards, kept.backwards, "abc")
    assert found.made.keys() == made.keys() and all(torch.equal(found.made[which], made[which]) for which in made)
    assert len(perturbations.pictures(tmp_path)) == 4


def test_a_file_of_something_else_is_named(tmp_path):
    path = tmp_path / "perturbations" / "m.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    with pytest.raises(EscrimeError, match="m.safetensors is not a complete safetensors file"):
        perturbations.read(tmp_path, "m")
    write_tensors(
        path, {"half0-eps0.1": torch.zeros(2)}, {"escrime": json.dumps({"digest": "a", "forwards": [1], "backwards": [1]})}
    )
    with pytest.raises(EscrimeError, match="m.safetensors holds no perturbations of a run .*; delete it"):
        perturbations.read(tmp_path, "m")


def test_who_has_no_gradients_is_told(weights, pictures, tmp_path):
    with pytest.raises(EscrimeError, match="attack 'UniversalPGD' needs gradients"):
        call(
            "--model",
            weights,
            "--data",
            pictures,
            "--eps",
            "0.1",
            "--attack",
            "UniversalPGD",
            "--access",
            "scores",
            "--out",
            tmp_path,
        )
