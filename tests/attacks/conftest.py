"""Models with a known optimum, and a small network with everything an attack must not disturb."""

import pytest
import torch
from torch import nn


class Linear(nn.Module):
    """logits = W·x + b on flattened images: the worst l_inf perturbation is known in closed form."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


@pytest.fixture
def linear():
    gen = torch.Generator().manual_seed(0)
    return Linear(torch.randn(4, 3 * 5 * 5, generator=gen), torch.randn(4, generator=gen))


@pytest.fixture
def network():
    """BatchNorm frozen in one place and training in another, dropout, mixed requires_grad."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4),
        )  # fmt: skip
        net(torch.rand(8, 3, 5, 5))
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    return net


@pytest.fixture
def images():
    return torch.rand(9, 3, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])
