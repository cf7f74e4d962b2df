"""On scikit-learn's digits: training reaches what it should, and adversarial training hardens."""

import pytest

from escrime.data import load
from escrime.models import build
from escrime.training import TrainSettings, fit, objective

SETTINGS = TrainSettings(epochs=6, learning_rate=0.05)
EPS = 0.1


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def clean(digits):
    train, test = digits
    result = fit(build("lenet", 10, seed=0), train, settings=SETTINGS, evaluate_on=test, evaluate_eps=EPS)
    return result.history.iloc[-1]


def test_a_small_network_learns_the_digits(clean):
    assert clean.test_accuracy >= 0.95


GAINS = {"fgsm-mixed": 0.1, "fgsm-directed": 0.05, "fgsm-rs": 0.1, "n-fgsm": 0.05}  # what is left of it on any processor


@pytest.mark.parametrize("name, gain", GAINS.items())
def test_adversarial_training_hardens(digits, clean, name, gain):
    train, test = digits
    goal = objective(name, eps=EPS)
    hard = fit(build("lenet", 10, seed=0), train, goal, settings=SETTINGS, evaluate_on=test).history.iloc[-1]
    assert hard.test_fgsm_accuracy > clean.test_fgsm_accuracy + gain
    assert hard.test_accuracy > 0.93
