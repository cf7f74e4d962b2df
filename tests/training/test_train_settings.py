"""Settings are checked by name and value; schedules agree with torch's."""

import dataclasses

import pytest
import torch

from escrime.errors import EscrimeError
from escrime.training import TrainSettings
from escrime.training.schedule import learning_rate


def test_defaults_are_the_papers():
    settings = TrainSettings()
    paper = (settings.optimizer, settings.learning_rate, settings.momentum, settings.weight_decay, settings.schedule)
    assert paper == ("sgd", 0.01, 0.9, 0.0, "constant") and settings.epochs == 5
    assert settings.augment == "none" and settings.ema is None


def test_settings_hold_json_values_and_are_hashable():
    settings = TrainSettings(milestones=[0.2, 0.4], epochs=3)
    assert hash(settings) == hash(TrainSettings(**settings.as_dict()))
    assert dataclasses.replace(settings, epochs=4).epochs == 4


@pytest.mark.parametrize(
    "values, words",
    [
        ({"learning_rat": 0.1}, "Did you mean 'learning_rate'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"optimizer": "adam"}, "Did you mean 'adamw'"),
        ({"augment": "flop"}, "Did you mean 'flip'"),
        ({"precision": "bf16"}, "bfloat16"),
        ({"epochs": 0}, "epochs = 0"),
        ({"epochs": 2.5}, "epochs = 2.5"),
        ({"batch_size": True}, "batch_size = True"),
        ({"learning_rate": 0}, "learning_rate = 0"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast'"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"momentum": 1.0}, "momentum = 1.0"),
        ({"weight_decay": -1}, "weight_decay = -1"),
        ({"ema": 1.0}, "ema = 1.0"),
        ({"clip_gradient": 0}, "clip_gradient = 0"),
        ({"milestones": 0.5}, "list of fractions"),
        ({"milestones": [0.7, 0.2]}, "sort them"),
        ({"milestones": [30]}, "milestones = 30"),
        ({"channels_last": "yes"}, "channels_last = 'yes'"),
        ({"nesterov": True, "momentum": 0}, "nesterov"),
    ],
)
def test_bad_values_are_one_sentence(values, words):
    with pytest.raises(EscrimeError, match=words):
        TrainSettings(**values)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "multi-step"])
@pytest.mark.parametrize("steps", [40, 7])
def test_schedules_are_torchs(schedule, steps):
    settings = TrainSettings(schedule=schedule, learning_rate=0.2, milestones=(0.5, 0.75), decay=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    schedulers = torch.optim.lr_scheduler
    reference = {
        "constant": lambda: schedulers.ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, steps),
        "one-cycle": lambda: schedulers.OneCycleLR(optimizer, 0.2, total_steps=steps, cycle_momentum=False),
        "multi-step": lambda: schedulers.MultiStepLR(optimizer, [-(-steps // 2), -(-3 * steps // 4)], 0.1),
    }[schedule]()
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(settings, step, steps) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        optimizer.step()
        reference.step()


def test_one_cycle_of_very_few_steps():
    settings = TrainSettings(schedule="one-cycle")
    for steps in (1, 2, 3, 4):
        assert all(0 < learning_rate(settings, step, steps) <= 0.01 for step in range(steps))
