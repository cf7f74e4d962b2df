"""Checkpoints: a killed run ends with the same bits, another run's file is refused, a failed write loses nothing."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from escrime.errors import EscrimeError
from escrime.training import Objective, TrainSettings, fit, objective
from escrime.training import checkpoint as checkpoint_module


class Killed(BaseException):
    """What a kill looks like from inside: nothing in the library may catch it."""


RUNS = {
    "paper": ("clean", {}),
    "momentum-free": ("fgsm-directed", dict(momentum=0.0)),
    "everything": (
        objective("fgsm-rs", eps=0.1, eps_distribution="uniform"),
        dict(schedule="one-cycle", ema=0.9, augment="flip+crop", clip_gradient=1.0, label_smoothing=0.1, nesterov=True),
    ),
    "adamw": (
        objective("trades", eps=0.1, steps=2),
        dict(optimizer="adamw", schedule="cosine", weight_decay=0.01, ema=0.5, channels_last=False),
    ),
    "multi-step": (objective("fgsm-mixed", eps=0.1), dict(schedule="multi-step", weight_decay=0.01)),
}
EPOCHS = 4


def settings(values):
    return TrainSettings(epochs=EPOCHS, batch_size=8, learning_rate=0.05, **values)


def bits(model):
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def kill_after(epoch):
    def on_epoch(record):
        if record["epoch"] == epoch:
            raise Killed

    return on_epoch


def kill_at(step):
    def on_batch(done, total):
        if done == step:
            raise Killed

    return on_batch


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_ends_with_the_same_bits(network, image_set, tmp_path, name):
    goal, values = RUNS[name]
    data, test = image_set(22), image_set(10, seed=1)
    whole = fit(network(), data, goal, settings=settings(values), seed=3, evaluate_on=test)
    run = dict(settings=settings(values), seed=3, checkpoint=tmp_path, evaluate_on=test)
    with pytest.raises(Killed):
        fit(network(), data, goal, **run, on_epoch=kill_after(1))
    with pytest.raises(Killed):  # in the middle of epoch 3, which has 3 steps
        fit(network(), data, goal, **run, on_batch=kill_at(8))
    torch.rand(7)  # whatever happens between two runs
    records = []
    resumed = fit(network(), data, goal, **run, on_epoch=records.append)
    assert resumed.resumed == 2 and [record["epoch"] for record in records] == [3, 4]
    assert bits(resumed.model) == bits(whole.model)
    compared = [name for name in whole.history if name not in ("seconds", "images_per_second")]
    assert resumed.history[compared].equals(whole.history[compared])


class Noisy(nn.Module):
    """A model that draws from numpy and from Python, as augmentations inside a network do."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images + np.random.rand() + random.random() if self.training else images)


def test_numpys_and_pythons_randomness_is_the_runs_own(network, image_set, tmp_path):
    data, states = image_set(22), (np.random.get_state()[1].tolist(), random.getstate())
    whole = fit(Noisy(network()), data, settings=settings({}))
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states
    with pytest.raises(Killed):
        fit(Noisy(network()), data, settings=settings({}), checkpoint=tmp_path, on_batch=kill_at(5))
    np.random.rand(), random.random()
    draw = lambda done, total: (np.random.rand(), random.random())  # noqa: E731  a callback's draws are not the model's
    resumed = fit(Noisy(network()), data, settings=settings({}), checkpoint=tmp_path, on_batch=draw)
    assert resumed.resumed == 1 and bits(resumed.model) == bits(whole.model)


@pytest.fixture
def slow_disk(monkeypatch):
    """Writing seems to take so long that only the first and the last state are worth it."""
    monkeypatch.setattr("escrime.training.checkpoint.QUICK", 0.0)
    monkeypatch.setattr("escrime.training.checkpoint.SHARE", 1e9)


def test_what_takes_long_to_write_is_written_less_often(network, image_set, tmp_path, slow_disk):
    data, values = image_set(22), {"optimizer": "adamw", "ema": 0.9}
    whole = fit(network(), data, settings=settings(values))
    with pytest.raises(Killed):
        fit(network(), data, settings=settings(values), checkpoint=tmp_path, on_epoch=kill_after(3))
    resumed = fit(network(), data, settings=settings(values), checkpoint=tmp_path)
    assert resumed.resumed == 1, "epochs 2 and 3 were not written"
    assert bits(resumed.model) == bits(whole.model) and len(resumed.history) == EPOCHS
    assert fit(network(), data, settings=settings(values), checkpoint=tmp_path).resumed == EPOCHS, "the last one is"


def test_where_to_go_back_to_is_what_was_written(network, image_set, tmp_path, slow_disk):
    def nan_from_epoch_3(model, images, labels, context):
        loss = context.loss(model, images, labels, clean=len(images))
        return loss * float("nan") if context.draws.epoch == 2 else loss

    with pytest.raises(EscrimeError, match="last.safetensors after epoch 1"):
        fit(network(), image_set(), nan_from_epoch_3, settings=settings({}), checkpoint=tmp_path)


def test_a_finished_run_is_not_repeated(network, image_set, tmp_path):
    run = dict(settings=settings({"ema": 0.5}), checkpoint=tmp_path)
    first = fit(network(), image_set(), **run)
    again = fit(network(), image_set(), **run, on_batch=kill_at(1))
    assert again.resumed == EPOCHS and bits(again.model) == bits(first.model)
    assert again.history.equals(first.history) and again.checkpoint == tmp_path / "last.safetensors"


def test_the_file_is_safetensors_with_json_and_nothing_beside_it(network, image_set, tmp_path):
    (tmp_path / ".last.safetensors.abc.partial").write_bytes(b"left by a killed run")
    fit(network(), image_set(), settings=settings({"ema": 0.5}), checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "last.safetensors"]
    with safe_open(tmp_path / "last.safetensors", framework="pt") as file:
        content, names = json.loads(file.metadata()["escrime"]), set(file.keys())
    assert content["epochs"] == EPOCHS and content["identity"]["learning_rate"] == 0.05
    assert {"model.0.weight", "optimizer.momentum_buffer.0.weight", "average.0.weight"} <= names


def test_what_others_write_beside_the_checkpoint_stays(network, image_set, tmp_path):
    """The folder is the user's: an unfinished file of another name may be somebody's."""
    theirs = tmp_path / ".weights.safetensors.ab12_x9z.partial"
    theirs.write_bytes(b"being written")
    fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)
    assert theirs.exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(settings=settings({"label_smoothing": 0.1})), "label smoothing is 0.0, here it is 0.1"),
        (dict(objective="n-fgsm"), 'objective is "fgsm-mixed", here it is "n-fgsm"'),
        (dict(objective=objective("fgsm-mixed", eps=0.2)), "objective eps is 0.1, here it is 0.2"),
        (dict(seed=1), "seed is 0, here it is 1"),
        (dict(count=21), "number of training images is 22, here it is 21"),
        (dict(data_seed=5), "data is "),
        (dict(classes=5), "architecture is "),
    ],
)
def test_another_runs_checkpoint_is_refused(network, image_set, tmp_path, change, words):
    first = dict(objective=objective("fgsm-mixed", eps=0.1), settings=settings({}), seed=0)
    first |= dict(count=22, data_seed=0, classes=4)

    def run(objective, settings, seed, count, data_seed, classes):
        data = image_set(count, seed=data_seed)
        return fit(network(classes), data, objective, settings=settings, seed=seed, checkpoint=tmp_path)

    run(**first)
    content = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(EscrimeError, match=re.escape(words)) as error:
        run(**first | change)
    assert "\n" not in str(error.value) and "give another folder" in str(error.value)
    assert (tmp_path / "last.safetensors").read_bytes() == content


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: b"PK\x03\x04" + data])
def test_a_damaged_file_is_refused(network, image_set, tmp_path, damage):
    fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)
    path = tmp_path / "last.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(EscrimeError, match="not a readable training checkpoint"):
        fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)


def test_other_initial_weights_are_mentioned(network, image_set, tmp_path):
    run = dict(settings=settings({}), checkpoint=tmp_path)
    with pytest.raises(Killed):
        fit(network(), image_set(), **run, on_epoch=kill_after(1))
    with pytest.warns(UserWarning, match="other initial weights") as broadcast, pytest.raises(Killed):
        fit(network(seed=1), image_set(), **run, on_epoch=kill_after(2))
    assert broadcast[0].filename == __file__, "a warning points at the line that called fit"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = fit(network(), image_set(), **run)
    whole = fit(network(), image_set(), settings=settings({}))
    assert resumed.resumed == 2 and bits(resumed.model) == bits(whole.model)


def test_a_full_disk_loses_nothing(network, image_set, tmp_path, monkeypatch):
    whole = bits(fit(network(), image_set(), settings=settings({})).model)
    save, calls = checkpoint_module.save_file, []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 3:
            with open(path, "wb") as file:
                file.write(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path, metadata)

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(EscrimeError, match="No space left.*continue after epoch 2"):
        fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "last.safetensors"]
    resumed = fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)
    assert resumed.resumed == 2 and bits(resumed.model) == whole


def test_a_refusal_of_the_system_itself(network, image_set, tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(EscrimeError, match="could not be written.*continue from the start"):
            fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


SCRIPT = """
import sys
from pathlib import Path
from escrime.data import load
from escrime.models import build
from escrime.training import Objective, TrainSettings, fit, objective
model = build("wide_resnet_small", 10, seed=0)
train = load("digits").train.limit(200)
values = TrainSettings(epochs=12, batch_size=32, ema=0.99, schedule="one-cycle")
tell = lambda record: print(record["epoch"], flush=True)
fit(model, train, objective("fgsm-rs", eps=0.1), settings=values, checkpoint=sys.argv[1], on_epoch=tell)
print(hash(b"".join(t.numpy().tobytes() for t in model.state_dict().values())))
"""


@pytest.mark.slow
def test_killed_by_the_system(tmp_path):
    """SIGKILL at an arbitrary moment, then the same command again."""
    environment = os.environ | {"PYTHONHASHSEED": "0"}

    def start(folder):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    expected = start("whole").communicate()[0].split()
    process = start("killed")
    assert process.stdout.readline().strip() == "1"
    time.sleep(0.35)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = start("killed").communicate()[0].split()
    assert len(resumed) < len(expected) == 13 and resumed[-1] == expected[-1]


class Scaled:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, model, images, labels, context):
        return self.scale * context.loss(model, images, labels, clean=len(images))


def scaled(model, images, labels, context, scale):
    return Scaled(scale)(model, images, labels, context)


@dataclass(frozen=True, kw_only=True)
class Weighted(Objective):
    weights: tuple = (1.0, 2.0)

    def __call__(self, model, images, labels, context):
        return context.loss(model, images, labels, clean=len(images))


@pytest.mark.parametrize("make", [Scaled, lambda scale: partial(scaled, scale=scale)], ids=["object", "partial"])
def test_an_objective_of_ones_own_with_other_settings_is_another_run(make, network, image_set, tmp_path):
    fit(network(), image_set(), make(1.0), settings=settings({}), checkpoint=tmp_path)
    assert fit(network(), image_set(), make(1.0), settings=settings({}), checkpoint=tmp_path).resumed == EPOCHS
    with pytest.raises(EscrimeError, match="scale is .*1.0.*, here it is .*-9.0"):
        fit(network(), image_set(), make(-9.0), settings=settings({}), checkpoint=tmp_path)


def test_settings_that_json_writes_in_another_way_are_the_same(network, image_set, tmp_path):
    for resumed in (0, EPOCHS):
        assert fit(network(), image_set(), Weighted(), settings=settings({}), checkpoint=tmp_path).resumed == resumed
    with pytest.raises(EscrimeError, match="weights is"):
        fit(network(), image_set(), Weighted(weights=(1.0, 3.0)), settings=settings({}), checkpoint=tmp_path)


def other_dropout(model):
    model[3].p = 0.9


def frozen(place):
    return lambda model: model[place].requires_grad_(False)


@pytest.mark.parametrize(
    "first, then, words",
    [
        (lambda model: None, other_dropout, "architecture is"),
        (frozen(0), frozen(4), "trained parameters is"),
        (lambda model: None, None, "order of the data is"),
    ],
    ids=["dropout", "other layers frozen", "reordered"],
)
def test_a_network_or_data_changed_in_other_ways_are_another_run(first, then, words, network, image_set, tmp_path):
    model, data = network(), image_set()
    first(model)
    fit(model, data, settings=settings({}), checkpoint=tmp_path)
    model = network()
    first(model)
    if then is None:
        data = data.select(list(range(len(data)))[::-1])
    else:
        model = network()
        then(model)
    with pytest.raises(EscrimeError, match=words):
        fit(model, data, settings=settings({}), checkpoint=tmp_path)


def test_another_start_is_refused_on_request(network, image_set, tmp_path):
    fit(network(), image_set(), settings=settings({}), checkpoint=tmp_path)
    with pytest.raises(EscrimeError, match="started from other initial weights .*give another folder"):
        fit(network(seed=5), image_set(), settings=settings({}), checkpoint=tmp_path, same_start=True)
