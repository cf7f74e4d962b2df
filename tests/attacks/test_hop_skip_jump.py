"""HopSkipJump beyond the laws: it reaches known boundaries with labels alone, and what it asks on the way."""

import pytest
import torch
from attack_cases import Counted, Linear, grey, labels_of, plain

from escrime import EscrimeError
from escrime.attacks import HopSkipJump
from escrime.norms import NORMS


def decisions(model):
    """The model as its users see it: one-hot decisions without scores."""
    return lambda x: torch.nn.functional.one_hot(model(x).argmax(1), 2).float()


@pytest.mark.slow
def test_decisions_alone_lead_to_the_boundary():
    model, images = Linear(2), grey(20)
    labels, exact = labels_of(model, images), Linear(2).reach(images, "l2")
    ratios = []
    for queries in (100, 600, 3000):
        moved = HopSkipJump(queries=queries, probes=50)(decisions(model), images, labels)
        assert (labels_of(model, moved) != labels).all()
        ratios.append(float((NORMS["l2"].distance(moved, images) / exact).median()))
    assert ratios[0] > ratios[1] > ratios[2] and 1 <= ratios[2] < 1.05, ratios


def test_the_image_then_noise_then_halves_of_the_way_back():
    counted = Counted(lambda x: torch.stack([0.52 - x.flatten(1).mean(1), x.flatten(1).mean(1) - 0.52], dim=1))
    image, label = torch.full((1, 1, 4, 4), 0.4), torch.tensor([0])
    moved = HopSkipJump(queries=150, probes=20)(plain(counted), image, label)
    asked = [x[0] for x in counted.tally.seen]
    assert torch.equal(asked[0], image[0]) and asked[1].std() > 0.15, "noise over the whole color range"
    first = next(at for at, x in enumerate(asked) if at and float(x.mean()) > 0.52)
    assert torch.allclose(asked[first + 1], (image[0] + asked[first]) / 2, atol=1e-6)
    assert labels_of(counted, moved).item() == 1
    assert float(NORMS["l2"].distance(moved, image)) == pytest.approx(4 * 0.12, rel=0.3), "the mean has to rise by 0.12"


def test_it_stops_at_what_was_asked_and_counts_what_it_spent():
    model, images = Linear(2), grey(20)
    labels, exact = labels_of(model, images), model.reach(images, "l2")
    counted = Counted(model)
    attack = HopSkipJump(2 * float(exact.max()), queries=3000, probes=20, stop_within=True)
    outcome = attack.sweep(plain(counted), images, labels, [2 * exact])[0]
    assert outcome.success.all() and (NORMS["l2"].distance(outcome.adversarial, images) <= 2 * exact).all()
    assert outcome.forwards.sum() == counted.tally.forwards and counted.tally.backwards == 0
    assert outcome.forwards.max() < 1500 < 3000


def test_settings_are_checked():
    for settings in ({"queries": 0}, {"queries": 2.5}, {"probes": 0}):
        with pytest.raises(EscrimeError, match=next(iter(settings))):
            HopSkipJump(0.1, **settings)
