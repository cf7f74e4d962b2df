"""The two alarms on histories made up for the purpose."""

import pytest

from escrime.training import TrainSettings
from escrime.training.overfitting.alarms import best_epoch, overfitted, sentences

CHANCE = 0.1


def history(*epochs):
    """Records from (clean, FGSM, PGD) accuracies."""
    names = ("probe_clean", "probe_fgsm", "probe_pgd")
    return [{"epoch": at + 1} | dict(zip(names, values)) for at, values in enumerate(epochs)]


GOOD, BETTER, RUINED = (0.9, 0.6, 0.4), (0.9, 0.65, 0.5), (0.95, 0.9, 0.02)
CASES = {
    "catastrophic": ((GOOD, BETTER, RUINED, GOOD), 3),
    "an undefended start": (((0.95, 0.1, 0.0), GOOD), None),
    "an undefended model for ever": (((0.95, 0.3, 0.0), (0.96, 0.6, 0.0)), None),
    "one step only from the start": (((0.95, 0.9, 0.0), RUINED), None),
    "a gap, but PGD accuracy wavers only": ((GOOD, (0.9, 0.85, 0.3)), None),
    "a collapse to one class": ((GOOD, (0.1, 0.1, 0.1)), None),
    "nothing but a class, then one step only": (((0.1, 0.1, 0.1), (0.11, 0.11, 0.11), (0.9, 0.8, 0.0)), None),
    "FGSM falls too": ((GOOD, (0.9, 0.6, 0.0)), None),
    "FGSM holds less well, but the gap is wide": ((GOOD, (0.98, 0.8, 0.0)), 2),
    "a good model half ruined": ((GOOD, BETTER, (0.95, 0.9, 0.3)), None),
    "a weak model wavers": (((0.8, 0.4, 0.19), (0.9, 0.8, 0.0)), None),
}


@pytest.mark.parametrize("name", CASES)
def test_catastrophic_overfitting(name):
    epochs, expected = CASES[name]
    assert overfitted(history(*epochs), CHANCE) == expected


def test_the_best_epoch():
    assert best_epoch([], CHANCE) is None
    assert best_epoch(history(GOOD, BETTER, GOOD, BETTER), CHANCE) == 2
    assert best_epoch(history(GOOD, (0.95, 0.6, 0.4), GOOD), CHANCE) == 2  # of equals the one with more right as they are
    assert best_epoch(history((0.15, 0.15, 0.15), (0.8, 0.2, 0.05)), CHANCE) == 2  # one class for all is not robust


def say(*epochs, finished=True, **values):
    return sentences(history(*epochs), CHANCE, 256, 0.3, TrainSettings(probe_images=256, **values), finished)


def test_sentences_name_epochs_numbers_and_remedy():
    (text,) = say(GOOD, BETTER, RUINED)
    for part in (
        "catastrophic",
        "epoch 3",
        "256",
        "90.0%",
        "ε = 0.3",
        "2.0%",
        "50.0% after epoch 2",
        "weights of epoch 2",
        "pgd",
    ):
        assert part in text
    assert "training goes on" in say(GOOD, BETTER, RUINED, on_overfitting="warn")[0]
    (text,) = say(BETTER, GOOD)
    for part in ("robust overfitting", "40.0%", "epoch 2", "50.0% did after epoch 1", 'keep = "best"'):
        assert part in text
    assert 'keep = "best"' not in say(BETTER, GOOD, keep="best")[0]
    (text,) = say((0.95, 0.9, 0.0), RUINED)
    assert "single step only" in text and "best 2.0%" in text
    assert "single step only" in say((0.9, 0.3, 0.0), (0.984, 0.8125, 0.004))[0]  # LeNet, FGSM mixed at 0.3, 80 epochs


def test_silence():
    assert say(GOOD, BETTER) == say() == []
    assert say(BETTER, (0.9, 0.65, 0.48)) == []  # two points
    assert say(BETTER, (0.9, 0.65, 0.47)) != []  # three
    assert say(BETTER, GOOD, finished=False) == []
    assert say((0.14, 0.14, 0.14), (0.1, 0.1, 0.1)) == []  # it never learned
