"""A small trained-looking problem: linear logits on random images, so that truth is known without training."""

import pytest
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


@pytest.fixture
def linear():
    return Linear(torch.randn(4, 48, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def data(linear):
    """Images with the labels the model gives them, so that clean accuracy is exactly 1."""
    images = torch.rand(150, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return images, linear(images).argmax(1)
