"""Several processes share every batch: all images once per epoch, the same weights everywhere, those of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from in_processes import RUNS, train, work
from typer.testing import CliRunner

from escrime import EscrimeError
from escrime.cli import app
from escrime.distributed import Processes
from escrime.models import load_weights

pytestmark = pytest.mark.slow

HERE = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def both(place):
    """What two processes saw and made, one dict each."""
    torch.multiprocessing.spawn(work, args=(2, place), nprocs=2)
    return [torch.load(place / f"found-{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_every_image_once_per_epoch(name, both):
    first, second = (found[name]["rows"] for found in both)
    epochs = len(both[0][name]["history"]["epoch"])
    assert len(first) == len(second)
    steps = len(first) // epochs
    for start in range(0, len(first), steps):
        seen = [row for rows in (first, second) for batch in rows[start : start + steps] for row in batch]
        assert len(seen) == len(set(seen)) == (22 if name != "watched" else 14)
    assert all(abs(len(a) - len(b)) <= 1 and len(b) for a, b in zip(first, second))


@pytest.mark.parametrize("name", RUNS)
def test_all_return_the_same_weights_and_history(name, both):
    first, second = (found[name] for found in both)
    for key, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][key]), key
    assert all(np.array_equal(a, second["history"][key], equal_nan=True) for key, a in first["history"].items())
    assert first["best"][0] == second["best"][0] and not second["best"][1]


@pytest.mark.parametrize("name", ["plain", "trades", "spare"])
def test_the_weights_of_one_process(name, both):
    """Without BatchNorm, and although the parts of a batch of 7 are unequal."""
    result, _ = train(name, None)
    for key, tensor in result.model.state_dict().items():
        assert torch.allclose(tensor, both[0][name]["weights"][key], atol=1e-5), key
    history = both[0][name]["history"]
    assert np.allclose(result.history.loss, history["loss"], atol=1e-5)
    for column in ("accuracy", "adversarial_accuracy", "test_accuracy", "test_fgsm_accuracy"):
        assert np.allclose(result.history[column], history[column], equal_nan=True), column


def test_one_process_continues_what_two_began(both, place):
    result, _ = train("plain", place / "plain", epochs=3)
    assert result.resumed == 3
    for key, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, both[0]["plain"]["weights"][key])


def test_a_batch_must_be_large_enough():
    alone = Processes(HERE)
    alone.check(1)
    assert (alone.rank, alone.count, alone.first) == (0, 1, True)
    alone.count = 3
    with pytest.raises(EscrimeError, match="2 images cannot be divided among 3 processes.*larger batch_size"):
        alone.check(2)


def torchrun(*arguments, processes=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "escrime", "train", *arguments], capture_output=True, text=True, env=environment, timeout=240
    )


def test_torchrun_trains_as_one_process_does(tmp_path):
    arguments = ["lenet", "--data", "digits", "--device", "cpu", "--epochs", "2", "--tensorboard", "--out"]
    ran = torchrun(*arguments, str(tmp_path / "two"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("2 processes share every batch of 64 images") == 1
    assert CliRunner().invoke(app, ["train", *arguments, str(tmp_path / "one")]).exit_code == 0
    from escrime import build

    two, one = (load_weights(build("lenet", 10), tmp_path / name / "weights.safetensors") for name in ("two", "one"))
    for key, tensor in one.state_dict().items():
        assert torch.allclose(tensor, two.state_dict()[key], atol=1e-3), key
    assert json.loads((tmp_path / "two" / "training.json").read_text())["settings"]["batch_size"] == 64
    assert list(Path(tmp_path / "two" / "tensorboard").glob("events*"))


def test_torchrun_ends_with_one_sentence(tmp_path):
    ran = torchrun("lenet", "--data", "digits", "--device", "cpu", "--batch-size", "1", "--out", str(tmp_path / "run"))
    assert ran.returncode != 0 and "cannot be divided among 2 processes" in ran.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()
