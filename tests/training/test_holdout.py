"""Which images are held back: stratified, by seed and id, never trained on, none for an objective without ε."""

import numpy as np
import pytest

from escrime.errors import EscrimeError
from escrime.training import TrainSettings, fit, objective
from escrime.training.overfitting.holdout import hold_back


class Spy:
    """The clean objective, with an ε where one is given, which remembers the rows it was given."""

    def __init__(self, **eps):
        vars(self).update(eps, rows=[])

    def __call__(self, model, images, labels, context):
        self.rows.append(context.rows)
        return objective("clean")(model, images, labels, context)


def test_each_class_in_proportion_and_every_image_on_one_side(image_set):
    data = image_set(80)
    data = data.select(np.flatnonzero((data.labels != 3) | (np.arange(80) < 40)))  # 20, 20, 20 and 10
    kept, held = hold_back(data, 14, seed=0)
    assert sorted([*kept, *held]) == list(range(70)) and (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()
    assert np.bincount(data.labels[held]).tolist() == [4, 4, 4, 2]


def test_the_choice_is_the_seeds_and_knows_no_order(image_set):
    data = image_set(40)
    names = lambda data, seed: {data.ids[row] for row in hold_back(data, 12, seed)[1]}  # noqa: E731
    assert names(data, 0) == names(data.select(np.arange(40)[::-1]), 0) != names(data, 1)


def test_few_images_and_rare_classes(image_set):
    data = image_set(24, classes=8)
    assert len(set(data.labels[hold_back(data, 5, 0)[1]])) == 5  # fewer than classes: one of each, at most
    lonely = data.select([0, 8, 16, 1, 9, 2])  # 3, 2 and 1 of a class; most classes are not there
    kept, held = hold_back(lonely, 3, seed=0)
    assert set(lonely.labels[kept]) == {0, 1, 2} and 2 not in lonely.labels[held] and len(held) == 3
    with pytest.raises(EscrimeError, match="no class has two"):
        hold_back(data.select([0, 1, 2, 3]), 2, seed=0)


def test_held_back_images_are_never_trained_on(network, image_set):
    data, spy = image_set(22), Spy(eps=0.1)
    settings = TrainSettings(epochs=2, batch_size=7, probe_images=8)
    done = []
    fit(network(), data, spy, settings=settings, seed=5, on_batch=lambda *counts: done.append(counts))
    kept, held = hold_back(data, 8, seed=5)
    assert [len(rows) for rows in spy.rows] == [7, 7] * 2 and done[-1] == (4, 4)
    for epoch in (spy.rows[:2], spy.rows[2:]):
        assert sorted(np.concatenate(epoch)) == kept.tolist()
    assert not set(held) & set(np.concatenate(spy.rows))


@pytest.mark.parametrize("spy, probe_images", [(Spy(), 8), (Spy(eps=0.1), 0)])
def test_nothing_is_held_back_without_a_probe(network, image_set, spy, probe_images):
    result = fit(network(), image_set(22), spy, settings=TrainSettings(epochs=1, probe_images=probe_images))
    assert sorted(np.concatenate(spy.rows)) == list(range(22))
    assert result.history[["probe_clean", "probe_fgsm", "probe_pgd"]].isna().all(axis=None)
    assert result.best_epoch is None and result.best_weights is None and result.warnings == []


def test_too_many_are_refused(network, image_set):
    with pytest.raises(EscrimeError, match="probe_images = 12 .* half of the 22 .* at most 11"):
        fit(network(), image_set(22), Spy(eps=0.1), settings=TrainSettings(probe_images=12))
