"""A model that tells attacks by what only attacks do is found by those that leave it out."""

import pytest
import torch
from torch import nn

from escrime import APGD, evaluate
from escrime.evaluation import Effort

QUICK = Effort(images=40, steps=20, queries=100, draws=20, eot=2, doublings=0)
EPS = 0.1


class Tripwire(nn.Module):
    """By row 1, which the attack turns, unless something was `touched`: then by row 0, which it cannot, with noise."""

    def __init__(self, touched, noise=0.0):
        super().__init__()
        self.touched, self.noise, self.scale = touched, noise, nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        # The colors pull different ways and row 3 a little, so that whoever follows the gradient as it is trips the wire.
        seen = (x * x.new_tensor([0.9, 0.5, -0.4])[:, None, None]).sum(1)
        weak, strong = self.scale * (seen[:, 1] + 0.1 * seen[:, 3]), self.scale * x[:, :, 0].mean(1)
        return torch.where(self.touched(x)[:, None], strong, weak) + self.noise * torch.randn_like(weak)


@pytest.fixture
def images():
    """Gray, of four classes: the bright column is clear in row 0, faint in row 1; row 3 is black in all of them."""
    labels = torch.arange(4).repeat(10)
    x = 0.5 + 0.02 * torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x[:, 0, 0], x[:, 0, 3] = 0.1, 0.0
    x[torch.arange(40), 0, 0, labels] = 0.9
    x[torch.arange(40), 0, 1, labels] += 0.05
    return x.expand(-1, 3, -1, -1).contiguous(), labels


def border(x):
    return (x[:, :, 3] > 0.01).flatten(1).any(1)


def color(x):
    return (x.amax(1) - x.amin(1)).flatten(1).amax(1) > 0.01


@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize(("touched", "said"), [(border, "pixels that vary"), (color, "same in all channels")])
def test_a_tripwire_is_found_and_gone_around(images, touched, said, noise):
    """Noise that changes no answer hides nothing."""
    found = evaluate(Tripwire(touched, noise), images, APGD(EPS), checks=QUICK, progress=False)
    (alarm,) = [finding for finding in found.alarms if finding.id == "confined"]
    assert said in alarm.message and alarm.answered
    (verdict,) = found.verdicts
    assert verdict.accuracy < 0.05 and not verdict.believe and "confined" in verdict.sentence


@pytest.mark.parametrize("answer", [False, True])
def test_without_a_tripwire_nothing_is_found(images, answer):
    model = Tripwire(lambda x: torch.full((len(x),), answer))
    found = evaluate(model, images, APGD(EPS), checks=QUICK, progress=False)
    assert "confined" not in {finding.id for finding in found.alarms}
    assert found.verdicts[0].accuracy == (1.0 if answer else 0.0)
