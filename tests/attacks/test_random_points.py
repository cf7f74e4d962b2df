"""Random points: corners among them, the best one kept, one question each, no more once one succeeds."""

import pytest
import torch
from attack_cases import Counted, grey
from torch import nn

from escrime import EscrimeError
from escrime.attacks import RandomPoints
from escrime.models.fast.twin import Twin


class Beyond(nn.Module):
    """Class 1 where the first pixel has moved up by more than `reach` from 0.5, else class 0."""

    def __init__(self, reach):
        super().__init__()
        self.reach = reach

    def forward(self, x):
        beyond = x.flatten(1)[:, 0] - 0.5 - self.reach
        return torch.stack([torch.zeros_like(beyond), beyond], dim=1)


def case(count=16):
    return torch.full((count, 1, 2, 2), 0.5), torch.zeros(count, dtype=torch.long)


def test_a_region_of_a_fiftieth_of_the_ball_is_found_by_a_thousand_points():
    outcome = RandomPoints(0.1).sweep(Beyond(0.096), *case(), [0.1])[0]
    assert outcome.success.all() and (outcome.forwards < 1000).all() and (outcome.backwards == 0).all()


def test_corners_reach_what_hardly_any_point_inside_does():
    outcome = RandomPoints(0.1, draws=64).sweep(Beyond(0.0999), *case(), [0.1])[0]
    assert outcome.success.all(), "a quarter of the points are corners with the first pixel up"


def test_what_no_point_reaches_costs_every_draw_and_the_best_one_is_kept():
    model, (images, labels) = Counted(Beyond(0.2)), case(4)
    outcome = RandomPoints(0.1, draws=48).sweep(Twin(model, copy=model), images, labels, [0.1])[0]
    assert not outcome.success.any() and (outcome.forwards == 48).all() and model.tally.forwards == 4 * 48
    assert torch.allclose(outcome.adversarial[:, 0, 0, 0], images[:, 0, 0, 0] + 0.1, atol=1e-6), (
        "a corner is nearest to success"
    )


def test_points_are_spread_over_the_ball():
    moved = RandomPoints(0.1, draws=1)(Beyond(1.0), grey(2000, (1, 2, 2)), torch.zeros(2000, dtype=torch.long))
    away = (moved - grey(2000, (1, 2, 2))).flatten(1).abs().amax(1)
    corners = away > 0.0999
    assert 0.4 < corners.float().mean() < 0.6 and away[~corners].std() > 0.01


def test_no_draw_is_refused():
    with pytest.raises(EscrimeError, match="draws = 0"):
        RandomPoints(0.1, draws=0)
