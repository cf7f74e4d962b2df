"""RayS beyond the laws: it reaches known boundaries with labels alone, its rays, its searches and what they cost."""

import pytest
import torch
from attack_cases import Counted, Linear, grey, labels_of, plain

from escrime import EscrimeError, RayS
from escrime.norms import NORMS


def decisions(model):
    """The model as its users see it: one-hot decisions without scores."""
    return lambda x: torch.nn.functional.one_hot(model(x).argmax(1), 2).float()


@pytest.mark.slow
def test_decisions_alone_lead_to_the_boundary():
    model, images = Linear(2), grey(20)
    labels, exact = labels_of(model, images), Linear(2).reach(images, "linf")
    ratios = []
    for queries in (50, 400, 2000):
        moved = RayS(queries=queries, tolerance=1e-4)(decisions(model), images, labels)
        assert (labels_of(model, moved) != labels).all()
        ratios.append((NORMS["linf"].distance(moved, images) / exact).median())
    assert ratios[0] > ratios[1] > ratios[2] and 1 <= ratios[2] < 1.02, ratios


def test_every_iterate_lies_on_a_ray_and_halves_the_search():
    """x + r·d, d all of ±1: first all ones at the farthest, then halfway, as long as that is adversarial."""
    counted = Counted(lambda x: torch.stack([0.58 - x.flatten(1).mean(1), x.flatten(1).mean(1) - 0.58], dim=1))
    image, label = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    moved = RayS(queries=60, tolerance=0.01)(plain(counted), image, label)
    asked = [x.flatten() - 0.5 for x in counted.tally.seen]
    assert (asked[0] == 0).all() and (asked[1] == 0.5).all()  # a distance of 1, clipped to the box
    far = torch.stack([x.mean() for x in asked[2:9]])
    assert torch.allclose(far, torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.09375, 0.078125, 0.0859375]), atol=1e-6)
    for x in asked[1:]:
        assert torch.allclose(x.abs(), x.abs().max().expand(16), atol=1e-6)
    assert float(NORMS["linf"].distance(moved, image)) == pytest.approx(0.08, abs=0.011)


def test_a_flip_is_kept_only_where_it_stays_adversarial():
    """One pixel decides, downwards: its sign must end turned, whatever the others do."""
    model = lambda x: torch.stack([x[:, 0, 2, 1] - 0.3, 0.3 - x[:, 0, 2, 1]], dim=1)  # noqa: E731
    image, label = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    moved = RayS(queries=100)(model, image, label)
    assert moved[0, 0, 2, 1] <= 0.3 and float(NORMS["linf"].distance(moved, image)) == pytest.approx(0.2, abs=0.002)


def test_it_stops_at_what_was_asked_and_counts_what_it_spent():
    model, images = Linear(2), grey(20)
    labels = labels_of(model, images)
    exact = model.reach(images, "linf")
    counted = Counted(model)
    outcome = RayS(3 * float(exact.max()), queries=3000, stop_within=True).sweep(plain(counted), images, labels, [3 * exact])[0]
    assert outcome.success.all() and (NORMS["linf"].distance(outcome.adversarial, images) <= 3 * exact).all()
    assert outcome.forwards.sum() == counted.tally.forwards and counted.tally.backwards == 0
    assert outcome.forwards.max() < 1500 < 3000
    fixed = RayS(queries=200).sweep(plain(model), images, labels, [None])[0]
    assert (fixed.forwards == 200).all() and (fixed.backwards == 0).all()


def test_settings_are_checked():
    for settings in ({"queries": 0}, {"queries": 2.5}, {"tolerance": 0.0}, {"tolerance": 2.0}):
        with pytest.raises(EscrimeError, match=next(iter(settings))):
            RayS(0.1, **settings)
