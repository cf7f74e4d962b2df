"""`escrime train`: what lies in the folder afterwards, that it continues, and what it refuses."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

import escrime
from escrime.cli import app
from escrime.commands.shared.display import Display
from escrime.commands.shared.folder import RunFolder
from escrime.commands.shared.settings import parse_settings
from escrime.commands.train.teacher import load_teacher
from escrime.commands.train.train import Log, TrainingJob, run_training
from escrime.errors import EscrimeError
from escrime.models import build, load_weights, save_weights
from escrime.training import TrainSettings

CPU = torch.device("cpu")


def job(**changes):
    settings = TrainSettings(epochs=2, learning_rate=0.02)
    return TrainingJob(**{"arch": "lenet", "data": "digits", "objective": {"name": "clean"}, "settings": settings} | changes)


def command(out, epochs, *more):
    words = ["train", "lenet", "--data", "digits", "--epochs", str(epochs), "--learning-rate", "0.02", "--out", str(out)]
    return [*words, "--device", "cpu", *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run_training(job(), tmp_path_factory.mktemp("train") / "lenet", device=CPU, quiet=True)


def test_the_folder_holds_weights_metrics_and_how_they_came_to_be(trained):
    assert {path.name for path in trained.iterdir()} >= {"weights.safetensors", "metrics.csv", "training.json", "checkpoint"}
    load_weights(build("lenet", 10, seed=9), trained / "weights.safetensors")
    with open(trained / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[1]["test_accuracy"]) > 0.5
    facts = json.loads((trained / "training.json").read_text())
    assert facts["objective"] == {"name": "clean"} and facts["epochs"] == facts["weights_of_epoch"] == 2
    assert facts["settings"]["epochs"] == 2 and len(facts["classes"]) == 10
    assert facts["data"]["fingerprint"] and facts["hardware"]["device"] == "cpu"


def test_the_same_command_again_trains_nothing(trained, capsys):
    before = (trained / "weights.safetensors").read_bytes(), (trained / "metrics.csv").read_text()
    run_training(job(), trained, device=CPU)
    assert ((trained / "weights.safetensors").read_bytes(), (trained / "metrics.csv").read_text()) == before
    assert "2 of 2 epochs were found done" in capsys.readouterr().out


def test_killed_while_it_wrote_its_metrics_it_goes_on(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "killed")
    left = [folder / ".metrics.csv.ab12_x9z.partial", folder / "checkpoint" / ".last.safetensors.ab12_x9z.partial"]
    for path in left:
        path.write_text("epoch,lo")
    (folder / "weights.safetensors").unlink()
    run_training(job(), folder, device=CPU, quiet=True)
    assert not any(path.exists() for path in left)
    assert (folder / "weights.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_killed_and_continued_it_ends_with_the_same_bytes(tmp_path):
    """kill -9 after the first line of metrics; the same command, then, equals a training that was left alone."""
    words = [sys.executable, "-m", "escrime", *command(tmp_path / "killed", 6)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "weights.safetensors").exists(), "it was killed too late to prove anything"
    for name in ("killed", "whole"):
        again = [sys.executable, "-m", "escrime", *command(tmp_path / name, 6)]
        subprocess.run(again, env=environment, check=True, stdout=subprocess.DEVNULL)
    names = ("killed", "whole")
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in names)
    assert first == second
    rows = [list(csv.DictReader(open(tmp_path / name / "metrics.csv", newline=""))) for name in names]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]] and len(rows[0]) == 6


def test_a_finished_training_gives_its_best_weights_where_they_are_asked_for(tmp_path):
    """As its own warning of robust overfitting advises; the epochs are found done."""
    goal = {"name": "fgsm-rs", "eps": 0.1}
    settings = dict(epochs=3, learning_rate=0.05, probe_images=100, on_overfitting="warn")
    folder = tmp_path / "run"
    for keep in ("last", "best", "last"):
        run_training(job(objective=goal, settings=TrainSettings(**settings, keep=keep)), folder, device=CPU, quiet=True)
        facts = json.loads((folder / "training.json").read_text())
        assert facts["settings"]["keep"] == keep
        with safe_open(folder / "weights.safetensors", "pt") as file:
            assert json.loads(file.metadata()["escrime"])["epoch"] == facts["weights_of_epoch"]


def test_other_test_images_are_refused_while_it_goes_on(tmp_path, monkeypatch):
    """metrics.csv would hold the accuracy on both, in one column. A training that is finished adds nothing."""
    real = escrime.data.load

    def others(*arguments, **options):
        train, test = real(*arguments, **options)
        return escrime.data.Splits(train, test.limit(100))

    class Killed(BaseException):
        pass

    def killed(log, row):
        if row["epoch"] == 2:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Log, "add", killed)
        patch.setattr("escrime.training.checkpoint.QUICK", math.inf)
        run_training(job(settings=TrainSettings(epochs=3, learning_rate=0.02)), tmp_path / "run", device=CPU, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(escrime.data, "load", others)
        with pytest.raises(EscrimeError, match="was tested on other images, or at another ε, .* or another folder"):
            run_training(job(settings=TrainSettings(epochs=3, learning_rate=0.02)), tmp_path / "run", device=CPU, quiet=True)
    run_training(job(settings=TrainSettings(epochs=3, learning_rate=0.02)), tmp_path / "run", device=CPU, quiet=True)
    monkeypatch.setattr(escrime.data, "load", others)
    run_training(job(settings=TrainSettings(epochs=3, learning_rate=0.02)), tmp_path / "run", device=CPU, quiet=True)


def test_another_training_in_the_folder_is_refused(trained):
    before = (trained / "weights.safetensors").read_bytes()
    with pytest.raises(EscrimeError, match="belongs to another training run"):
        run_training(job(objective={"name": "pgd", "eps": 0.1}), trained, device=CPU, quiet=True)
    assert (trained / "weights.safetensors").read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(EscrimeError, match="thesis.tex"):
        run_training(job(), tmp_path, device=CPU, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"thesis.tex", ".lock"}


def test_settings_are_read_from_the_command_line():
    words = ["ema=0.99", "augment=flip+crop", "milestones=[0.5]", "channels-last=false"]
    assert parse_settings(words, {"epochs": 3, "batch_size": None}) == {
        "epochs": 3,
        "ema": 0.99,
        "augment": "flip+crop",
        "milestones": [0.5],
        "channels_last": False,
    }
    assert parse_settings(["a=.05", "b=-.5e-1", "c=1.", "d=1.5.2", "e=.", "f=nine", "g=+05", "h=[0.5]", "i=٠."]) == {
        "a": 0.05,
        "b": -0.05,
        "c": 1.0,
        "d": "1.5.2",
        "e": ".",
        "f": "nine",
        "g": 5,
        "h": [0.5],
        "i": "٠.",
    }
    assert parse_settings(["a=1_000", "b=8/255", "c=+1e999"]) == {"a": 1000, "b": "8/255", "c": "+1e999"}
    with pytest.raises(EscrimeError, match="NAME=VALUE"):
        parse_settings(["ema"], {})
    with pytest.raises(EscrimeError, match="'epochs=4' sets again what is epochs = 3 already"):
        parse_settings(["epochs=4"], {"epochs": 3})


BAD = {
    "architecture": (["train", "lenett", "--data", "digits"], "lenet"),
    "dataset": (["train", "lenet", "--data", "digit"], "digits"),
    "objective": (["train", "lenet", "--data", "digits", "--objective", "pdg", "--eps", "0.1"], "pgd"),
    "setting": (["train", "lenet", "--data", "digits", "--set", "emma=0.9"], "ema"),
    "objective, twice": (["train", "lenet", "--data", "digits", "--goal", "name=pgd"], "name = 'clean' already"),
    "type": (["train", "lenet", "--data", "digits", "--set", "milestones=null"], "milestones"),
    "seed": (["train", "lenet", "--data", "digits", "--seed", "1" + "0" * 24], "seed = 1000"),
    "train size": (["train", "lenet", "--data", "digits", "--train-size", "10"], "--train-size 10 needs --size"),
    "no crops": (["train", "lenet", "--data", "digits", "--size", "8", "--train-size", "10"], "resized-crop"),
    "eps": (["train", "lenet", "--data", "digits", "--objective", "pgd", "--eps", "8"], "8/255"),
    "too large an eps": (
        ["train", "lenet", "--data", "digits", "--objective", "pgd", "--eps", "1e400"],
        "larger than any number",
    ),
    "pixels": (["train", "lenet", "--data", "digits", "--size", "20000"], "size = 20,000 is more than"),
}


@pytest.mark.parametrize("words, hint", BAD.values(), ids=BAD)
def test_bad_input_is_refused_with_the_remedy_and_nothing_written(words, hint, tmp_path):
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, EscrimeError) and hint in str(done.exception)
    assert not (tmp_path / "out" / "weights.safetensors").exists() and not (tmp_path / "out" / "training.json").exists()


def test_crops_of_larger_images(tmp_path):
    words = command(tmp_path / "out", 1, "--size", "8", "--train-size", "10", "--set", "augment=resized-crop")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (facts["data"]["size"], facts["data"]["train_size"], facts["settings"]["crop_size"]) == (8, 10, 8)
    with safe_open(tmp_path / "out" / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["escrime"])["size"] == 8, "what its images are, not what they were cut from"


def test_help_shows_a_worked_example():
    assert "escrime train wide_resnet_small --data digits --objective n-fgsm" in CliRunner().invoke(app, ["train", "-h"]).output


def test_probes_of_held_back_images_join_the_table(tmp_path, capsys):
    settings = TrainSettings(epochs=1, learning_rate=0.02, probe_images=64)
    run_training(job(objective={"name": "n-fgsm", "eps": 0.1}, settings=settings), tmp_path / "held", device=CPU)
    said = capsys.readouterr().out
    assert "held PGD" in said and said.splitlines()[2].count("%") >= 4


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_start_in_the_folder_is_refused(trained, tmp_path):
    """The weights that lie there are not what these would become."""
    save_weights(build("lenet", 10, seed=9), tmp_path / "other.safetensors")
    before = files(trained)
    with pytest.raises(EscrimeError, match="started from other initial weights.*--out"):
        run_training(job(weights=str(tmp_path / "other.safetensors")), trained, device=CPU, quiet=True)
    assert files(trained) == before


def test_once_it_has_begun_nothing_older_passes_for_its_result(trained, tmp_path, monkeypatch):
    folder = shutil.copytree(trained, tmp_path / "again")
    (folder / "checkpoint" / "last.safetensors").unlink()
    other = job(objective={"name": "fgsm-mixed", "eps": 0.1})

    def killed(self, row):
        add(self, row)
        raise KeyboardInterrupt

    add = Log.add
    monkeypatch.setattr(Log, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        run_training(other, folder, device=CPU, quiet=True)
    assert not (folder / "weights.safetensors").exists() and not (folder / "training.json").exists()
    monkeypatch.undo()
    run_training(other, folder, device=CPU, quiet=True)
    assert json.loads((folder / "training.json").read_text())["objective"]["eps"] == 0.1


def test_a_refused_training_writes_nothing_for_tensorboard(trained, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "thesis.tex").write_text("mine")
    for folder in (tmp_path, trained):
        with pytest.raises(EscrimeError):
            run_training(job(seed=3), folder, device=CPU, quiet=True, tensorboard=True)
        assert not (folder / "tensorboard").exists()


def test_metrics_that_someone_has_edited_come_back(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "edited")
    (folder / "metrics.csv").write_text("epoch;loss\n1;0,3\n")
    (folder / "weights.safetensors").unlink()
    run_training(job(), folder, device=CPU, quiet=True)
    assert (folder / "metrics.csv").read_text() == (trained / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text("epoch;loss\n1;0,3\n")
    Log(Display(quiet=True), RunFolder(folder), 3).add({"epoch": 2, "loss": 0.5})
    assert (folder / "metrics.csv").read_text() == "epoch,loss\n2,0.5\n"


def test_a_teacher_is_any_network_that_knows_the_classes(trained, tmp_path, monkeypatch):
    """One of ten classes as it is; of one with more, the classes of the images, found by name."""
    words = command(tmp_path / "out", 1, "--teacher", f"lenet@{trained / 'weights.safetensors'}", "--set", "temperature=3")
    assert CliRunner().invoke(app, words).exit_code == 0
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["teacher"].startswith("lenet@") and facts["settings"]["temperature"] == 3
    images = escrime.data.load("digits").train
    names = ["sheep", *reversed(images.classes)]
    larger = build("lenet", 11, seed=3)
    save_weights(larger, tmp_path / "larger.safetensors", {"classes": names})
    with pytest.raises(EscrimeError, match="gets .* of 64 training images right at 8 px, no more than chance"):
        load_teacher(f"lenet@{tmp_path / 'larger.safetensors'}", images, 8)
    monkeypatch.setattr("escrime.commands.train.teacher.TRIED", 10)  # too few to tell that nobody has trained it
    found, _ = load_teacher(f"lenet@{tmp_path / 'larger.safetensors'}", images, 8)
    pixels = images.batch(slice(0, 5))[0]
    assert torch.equal(found(pixels), larger(pixels)[:, 1:].flip(1))


def test_a_teacher_that_does_not_know_the_classes_is_refused(trained, tmp_path):
    save_weights(build("lenet", 3, seed=0), tmp_path / "three.safetensors")
    images = escrime.data.load("digits").train
    with pytest.raises(EscrimeError, match="teacher lenet@.* has 3 classes without names, the images have 10"):
        load_teacher(f"lenet@{tmp_path / 'three.safetensors'}", images, 8)
    twice = build("lenet", 10, seed=0)
    save_weights(twice, tmp_path / "twice.safetensors", {"classes": ["0, 1", *"23456789", "x"]})
    with pytest.raises(EscrimeError, match="'0' and '1' are one class of teacher"):
        load_teacher(f"lenet@{tmp_path / 'twice.safetensors'}", images, 8)
    (tmp_path / "pair.py").write_text(
        "import torch\n\n\nclass P(torch.nn.Module):\n    def forward(self, x):\n        return x, x\n"
    )
    with pytest.raises(EscrimeError, match="pair.py:P"):
        load_teacher(f"{tmp_path / 'pair.py'}:P", images, 8)
    (tmp_path / "box.py").write_text("def load():\n    return lambda images: images.reshape(len(images), -1)[:, :10]\n")
    with pytest.raises(EscrimeError, match="teacher .*box.py:load gives away scores only; give a network"):
        load_teacher(f"{tmp_path / 'box.py'}:load", images, 8)
