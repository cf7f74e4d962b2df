"""On scikit-learn's digits: a run that overfits catastrophically is stopped with its good weights, honest ones go on."""

import warnings

import numpy as np
import pytest

from escrime import FGSM, PGD
from escrime.data import ImageSet, load
from escrime.models import build
from escrime.training import TrainSettings, fit, objective
from escrime.training.crafting import fgsm
from escrime.training.overfitting.holdout import hold_back

EPS = 0.25


class SingleStep:
    """J(x'), x' one FGSM step without random start: the objective that overfits most readily (Wong et al., 2020)."""

    eps = EPS

    def __call__(self, model, images, labels, context):
        return context.loss(model, fgsm(model, images, labels, self.eps), labels, clean=0)


@pytest.fixture(scope="module")
def four():
    """Four digits that leave room for robustness at a large ε, at twice the size, which leaves room for hiding gradients."""
    data = load("digits").train
    rows = np.flatnonzero(np.isin(data.labels, (0, 1, 4, 7)))
    labels = np.searchsorted((0, 1, 4, 7), data.labels[rows])
    images = data.images[rows].repeat(2, 2).repeat(2, 3)
    return ImageSet("four digits", images, labels, tuple(data.ids[row] for row in rows), tuple("0147"))


def train(data, goal, probe_images=128, **values):
    """Start from a clean network, as the shipped experiments do; returns the result and the warnings given."""
    model = build("lenet", len(data.classes), seed=0)
    fit(model, data, settings=TrainSettings(epochs=2, learning_rate=0.05), seed=1)
    settings = TrainSettings(**(dict(learning_rate=0.05, batch_size=32, probe_images=probe_images) | values))
    with warnings.catch_warnings(record=True) as broadcast:
        warnings.simplefilter("always")
        result = fit(model, data, goal, settings=settings, seed=1)
    return result, [str(entry.message) for entry in broadcast]


@pytest.mark.slow
def test_catastrophic_overfitting_is_stopped(four):
    result, broadcast = train(four, SingleStep(), epochs=60)
    end = result.history.iloc[-1]
    good = result.history.iloc[result.best_epoch - 1]
    assert len(result.history) < 60 and broadcast == result.warnings and "catastrophic overfitting" in broadcast[0]
    assert f"in epoch {len(result.history)}:" in broadcast[0] and f"epoch {result.best_epoch}; training stopped" in broadcast[0]
    assert end.probe_fgsm >= 0.75 * end.probe_clean and end.probe_pgd <= good.probe_pgd / 2
    rows = hold_back(four, 128, seed=1)[1]
    images, labels = four.batch(rows)
    ids = [four.ids[row] for row in rows]
    for attack, expected in ((FGSM(EPS), good.probe_fgsm), (PGD(EPS, steps=10), good.probe_pgd)):
        fooled = attack(result.model, images, labels, seed=1, ids=ids)
        assert (result.model(fooled).argmax(dim=1) == labels).float().mean().item() == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("goal", [objective("n-fgsm", eps=0.1), objective("pgd", eps=0.1, steps=5)], ids=lambda goal: goal.name)
def test_an_honest_run_goes_on(goal):
    result, broadcast = train(load("digits").train, goal, probe_images=256, epochs=12, learning_rate=0.02)
    assert len(result.history) == 12 and not broadcast
    assert not any("single step" in text or "catastrophic" in text for text in result.warnings)
    assert result.history.probe_pgd.max() > 0.5


@pytest.mark.slow
def test_the_papers_objective_overfits_at_a_large_eps():
    """LeNet, FGSM mixed at ε = 0.3: FGSM accuracy 84 %, PGD accuracy 0; there never was a good epoch to return to."""
    settings = dict(epochs=80, learning_rate=0.1, schedule="cosine", batch_size=64, probe_images=256)
    result = fit(
        build("lenet", 10, seed=0), load("digits").train, objective("fgsm-mixed", eps=0.3), settings=TrainSettings(**settings)
    )
    end = result.history.iloc[-1]
    assert end.probe_fgsm > 0.7 and end.probe_pgd < 0.05
    assert len(result.history) == 80 and len(result.warnings) == 1 and "resists the single step only" in result.warnings[0]
