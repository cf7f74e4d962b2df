"""How long training takes, from a few images."""

import copy
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import escrime
from escrime import distributed
from escrime.training import TrainSettings, objective, pace

CPU = torch.device("cpu")
SETTINGS = TrainSettings(epochs=7, batch_size=32, probe_images=20, keep="best", schedule="one-cycle")


@pytest.fixture(scope="module")
def digits():
    return escrime.data.load("digits").train.select(list(range(100)))


@pytest.mark.parametrize(("each", "timed"), [(0.001, [8, 32]), (0.1, [8, 20]), (60.0, [8, 1])])
def test_as_many_images_as_take_a_moment(digits, monkeypatch, each, timed):
    """A whole batch where that is quick, as few as it takes on a slow machine; never a look at images held back."""
    seen = []

    def fit(model, data, goal, *, settings, **rest):
        seen.append(len(data))
        assert settings.epochs == 1 and settings.probe_images == 0 and settings.batch_size == 32
        return SimpleNamespace(history=pd.DataFrame({"seconds": [len(data) * each]}))

    monkeypatch.setattr(pace, "fit", fit)
    found = pace.seconds_per_image(escrime.build("lenet", 10), digits, objective("n-fgsm", eps=0.1), SETTINGS, device=CPU)
    assert found == pytest.approx(each) and seen == timed


def test_batches_of_one_image_can_be_timed(digits):
    """Though BatchNorm could not be trained by them."""
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(4), torch.nn.Flatten()]
    model, settings = torch.nn.Sequential(*layers, torch.nn.Linear(4, 10)), TrainSettings(batch_size=1)
    with pytest.raises(escrime.EscrimeError, match="freeze_batchnorm"):
        escrime.fit(copy.deepcopy(model), digits, settings=settings, progress=False)
    assert pace.seconds_per_image(model, digits, objective("n-fgsm", eps=0.1), settings, device=CPU) > 0


def test_the_model_is_left_as_it_was(digits):
    model = escrime.build("wide_resnet_small", 10)
    before, mode = copy.deepcopy(model.state_dict()), model.training
    assert pace.seconds_per_image(model, digits, objective("n-fgsm", eps=0.1), SETTINGS, device=CPU, about=0.1) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()) and model.training == mode


def test_one_of_several_processes_measures_by_itself(digits, monkeypatch):
    """As the first one of a run under torchrun does: it would wait for the others for ever."""
    for name, value in (("is_initialized", True), ("get_world_size", 2), ("get_rank", 0)):
        monkeypatch.setattr(distributed.dist, name, lambda value=value: value)
    assert distributed.Processes(CPU).together
    model = escrime.build("lenet", 10)
    assert pace.seconds_per_image(model, digits, objective("n-fgsm", eps=0.1), SETTINGS, device=CPU, about=0.1) > 0
    assert distributed.Processes(CPU).together, "only while it measures"
