"""Checks in l1 and l0: nothing is said against an honest model, and what hides its gradients is found out."""

import pytest
import torch
from torch import nn

import escrime
from escrime import PGD, Effort

EFFORT = Effort(steps=10, queries=60, draws=20)
EACH = pytest.mark.parametrize(("norm", "eps"), [("l1", 2.0), ("l0", 3)])


class Network(nn.Module):
    """Random features of small images; `hidden`: behind a staircase, whose slope is 0."""

    def __init__(self, hidden=False):
        super().__init__()
        gen = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Linear(36, 24), nn.Linear(24, 4)
        for layer in (self.first, self.second):
            layer.weight.data = torch.randn(layer.weight.shape, generator=gen) / layer.weight.shape[1] ** 0.5
        self.hidden = hidden

    def forward(self, x):
        x = (x * 8).round() / 8 if self.hidden else x
        return self.second(torch.relu(self.first(4 * (x.flatten(1) - 0.5))))


def findings(model, norm, eps):
    images = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    attack = PGD(eps, steps=3, norm=norm)
    found = escrime.evaluate({"net": model}, (images, labels), attack, checks=EFFORT, progress=False).checks
    return {finding.id: finding for finding in found if finding.norm == norm}


@EACH
def test_no_alarm_about_an_honest_model(norm, eps):
    found = findings(Network(), norm, eps)
    assert found["full-success"].severity == "passed" and f"in {norm}" in found["full-success"].message
    assert not [finding.message for finding in found.values() if finding.severity == "alarm"]


@EACH
def test_hidden_gradients_are_found_out(norm, eps):
    found = findings(Network(hidden=True), norm, eps)
    assert {"gradient-zero", "gradient-misleads"} & {f.id for f in found.values() if f.severity == "alarm"}
