"""The run folder: complete, continued without repeating anything, and refused to strangers."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from safetensors import safe_open

from escrime import EscrimeError
from escrime.commands.run import run_experiment
from escrime.commands.shared.folder import RunFolder
from escrime.evaluation import read_records
from escrime.results.records import COLUMNS

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def again(tiny, folder, **changes):
    return run_experiment(str(tiny), changes, out=folder, quiet=True, device="cpu")


def stamps(folder, *patterns):
    return {p: p.stat().st_mtime_ns for pattern in patterns for p in folder.glob(pattern)}


def test_everything_a_run_folder_holds(finished):
    records = read_records(finished)
    assert list(records.columns) == list(COLUMNS)
    cases = {(d, t, a) for d, t, a in zip(records.defense, records.threat, records.attack, strict=True)}
    threats = [("none", "white-box")] + [(d, t) for d in ("ppa", "adversarial-training") for t in ("transfer", "adaptive")]
    assert cases == {(*case, attack) for case in threats for attack in ("FGSM", "DGSM")} | {
        (*case, "stronger") for case in threats if case[1] != "transfer"
    }
    for (defense, threat, attack, _), group in records.groupby(["defense", "threat", "attack", "eps"]):
        limited = 30 if attack == "FGSM" else 20 if (defense, threat) == ("ppa", "adaptive") else 25
        assert group["image"].nunique() == len(group) == limited
        assert limited != 20 or set(group["label"].value_counts()) == {2}, "a smaller sample is stratified too"
    dgsm = {case: set(group["image"]) for case, group in records[records.attack == "DGSM"].groupby(["defense", "threat"])}
    assert dgsm["ppa", "adaptive"] < dgsm["ppa", "transfer"] == dgsm["none", "white-box"], "and part of the larger one"
    assert records["verified"].all()
    manifest = RunFolder(finished).manifest
    assert manifest["dataset"]["train"] == 1437 and manifest["dataset"]["test"] == 30
    assert manifest["versions"]["torch"] and manifest["hardware"]["cores"] >= 1 and manifest["seed"] == 0
    assert [s["name"] for s in manifest["stages"]][:2] == ["Train lenet", "Harden lenet (fgsm-mixed)"]
    for name in ("checkpoints/lenet.safetensors", "checkpoints/lenet--adversarial-training.safetensors", "report.html"):
        assert (finished / name).stat().st_size > 1000
    for number in range(1, 9):
        for kind in ("png", "svg"):
            assert list((finished / "figures").glob(f"fig{number}*lenet*.{kind}")), f"figure {number} is missing"
    claims = json.loads((finished / "claims.json").read_text())
    # C2 and C3 speak of the Wide ResNet alone; this run's network stands for GoogLeNet.
    assert {claim["id"] for claim in claims} == {f"C{i}" for i in range(1, 13)} - {"C2", "C3"}
    assert all({"paper", "measured", "verdict", "low", "high"} <= set(claim) for claim in claims)


@pytest.mark.long
def test_torchrun_gives_the_rows_of_one_process(tiny, tmp_path):
    """On the same networks: a training that is shared has other roundings."""
    (tmp_path / "two.toml").write_text(tiny.read_text().replace("limit = 30", "limit = 100"))
    run_experiment(str(tmp_path / "two.toml"), out=tmp_path / "one", quiet=True, device="cpu")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for made in [*(tmp_path / "two" / "records").iterdir(), *(tmp_path / "two" / "checks").iterdir()]:
        made.unlink()
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "escrime", "run"]
    command = [*launch, str(tmp_path / "two.toml"), "--out", str(tmp_path / "two"), "--device", "cpu"]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=280)
    assert ran.returncode == 0, ran.stderr
    keys = ["defense", "threat", "attack", "eps", "image"]
    one, two = (read_records(tmp_path / name).sort_values(keys, ignore_index=True) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


def test_the_network_learned_and_was_fooled(finished):
    records = read_records(finished)
    clean = records.query("defense == 'none' and attack == 'FGSM' and eps == 0")["correct"].mean()
    fooled = records.query("defense == 'none' and attack == 'FGSM' and eps == 0.3")["correct"].mean()
    assert clean > 0.85 and fooled < clean - 0.3


def test_running_again_computes_nothing(tiny, copy):
    before = stamps(copy, "records/*", "checkpoints/**/*", "examples/*", "analysis/*", "training/*")
    again(tiny, copy)
    assert stamps(copy, "records/*", "checkpoints/**/*", "examples/*", "analysis/*", "training/*") == before


@pytest.mark.usefixtures("undrawn")
def test_a_missing_part_comes_back_identical_and_alone(tiny, copy):
    lost = sorted((copy / "records").glob("*adaptive--DGSM*.parquet"))[0]
    expected = pd.read_parquet(lost)
    lost.unlink()
    before = stamps(copy, "records/*")
    again(tiny, copy)
    pd.testing.assert_frame_equal(pd.read_parquet(lost), expected)
    assert {p: t for p, t in stamps(copy, "records/*").items() if p != lost} == before


@pytest.mark.usefixtures("undrawn")
def test_a_run_killed_between_epochs_ends_with_the_same_weights(tiny, finished, tmp_path, monkeypatch):
    from escrime.commands.shared import fitting as module

    real = module.fit

    def killed(*args, on_epoch, **kwargs):
        def stop(row):
            on_epoch(row)
            if row["epoch"] == 2:
                raise KeyboardInterrupt

        return real(*args, on_epoch=stop, **kwargs)

    monkeypatch.setattr(module, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        again(tiny, tmp_path / "run")
    monkeypatch.undo()
    again(tiny, tmp_path / "run")
    for name in ("lenet.safetensors", "lenet--adversarial-training.safetensors"):
        assert (tmp_path / "run" / "checkpoints" / name).read_bytes() == (finished / "checkpoints" / name).read_bytes()
    keys = ["defense", "threat", "attack", "eps", "image"]
    one, other = (read_records(f).sort_values(keys, ignore_index=True) for f in (finished, tmp_path / "run"))
    pd.testing.assert_frame_equal(one, other)


def test_another_experiment_is_refused_and_nothing_changes(tiny, copy):
    before = stamps(copy, "**/*")
    with pytest.raises(EscrimeError, match=r"another experiment \(experiment.seed was 0, now 1\)"):
        again(tiny, copy, seed=1)
    assert {p: t for p, t in stamps(copy, "**/*").items() if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }


def test_a_folder_with_other_things_is_refused(tiny, tmp_path):
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(EscrimeError, match="not a run folder"):
        again(tiny, tmp_path)
    assert (tmp_path / "thesis.docx").read_text() == "precious"


def test_a_second_run_in_the_same_folder_is_refused(tiny, copy):
    with RunFolder(copy).lock(), pytest.raises(EscrimeError, match="another escrime run"):
        again(tiny, copy)


def test_the_report_is_drawn_from_records_alone(copy):
    from escrime.report import draw_report

    shutil.rmtree(copy / "checkpoints")
    shutil.rmtree(copy / "figures")
    (copy / "claims.json").unlink()
    (copy / "report.html").unlink()
    draw_report(copy)
    assert (copy / "report.html").exists() and (copy / "claims.json").exists()
    assert len(list((copy / "figures").glob("*.png"))) >= 8


def test_its_weights_can_be_evaluated_as_they_were_trained(finished):
    from escrime.models import load_model

    loaded = load_model(f"lenet@{finished / 'checkpoints' / 'lenet--adversarial-training.safetensors'}")
    assert loaded.size == 8 and list(loaded.classes) == [str(digit) for digit in range(10)]


CROPS = """
title = "Crops of larger training images"
headline_eps = 0.15
data = { name = "digits", size = 8, train_size = 10, limit = 10 }
models.lenet = { arch = "lenet" }
training = { epochs = 1, augment = "resized-crop" }
attacks.fgsm = { epsilons = [0, 0.15] }
attacks.dgsm = { epsilons = [0, 0.15], target = "1", steps = 2 }
checks = { images = 2, steps = 2, queries = 4, draws = 4, doublings = 0 }
"""


@pytest.mark.usefixtures("undrawn")
def test_crops_of_larger_training_images(tmp_path):
    (tmp_path / "crops.toml").write_text(CROPS)
    folder = run_experiment(str(tmp_path / "crops.toml"), out=tmp_path / "run", quiet=True, device="cpu")
    assert json.loads((folder / "manifest.json").read_text())["dataset"]["size"] == 8
    found = {finding["id"]: finding for finding in json.loads((folder / "checks.json").read_text())}
    assert found["train-test-overlap"]["severity"] == "passed", "looked for at the size of the test images"
    with safe_open(folder / "checkpoints" / "lenet.safetensors", "pt") as file:
        assert json.loads(file.metadata()["escrime"])["size"] == 8
