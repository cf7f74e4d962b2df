"""Small networks for digits, (N, 3, 8, 8) → (N, 10), that escrime itself does not have."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Two 3×3 convolutions and a hidden layer, each followed by its own `activation()`; 8×8 inputs of any depth."""

    def __init__(self, channels: int = 3, activation: Callable[[], nn.Module] = nn.ReLU, width: int = 32, hidden: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), activation(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), activation(),
            nn.Flatten(), nn.Linear(2 * width * 16, hidden), activation(), nn.Linear(hidden, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Pooled(nn.Module):
    """Convolutions with max pooling."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Normed(nn.Module):
    """A ConvNet with BatchNorm after each convolution."""

    def __init__(self, activation=nn.ReLU):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), activation(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), activation(), nn.Flatten(), nn.Linear(1024, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Attentive(nn.Module):
    """Sixteen patches, LayerNorm and one block of attention."""

    def __init__(self, width: int = 48):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, stride=2)
        self.places = nn.Parameter(torch.zeros(1, 16, width))
        self.block = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.out(self.norm(self.block(tokens)).mean(1))


class Prototypes(nn.Module):
    """Logits are minus the squared distances of the features from learned prototypes. Snell et al. (2017)."""

    def __init__(self):
        super().__init__()
        self.features = ConvNet()
        self.features.layers[-1] = nn.Linear(128, 16)
        self.points = nn.Parameter(torch.randn(10, 16))

    def forward(self, x: Tensor) -> Tensor:
        return -(self.features(x)[:, None] - self.points).square().sum(2)


class Polynomial(nn.Module):
    """A kernel machine without radial functions: a linear layer over all products of two pixels."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64 + 64 * 65 // 2, 10)
        self.register_buffer("rows", torch.triu_indices(64, 64))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.mean(1).flatten(1)
        return self.out(torch.cat([flat, flat[:, self.rows[0]] * flat[:, self.rows[1]]], 1))


class Sawtooth(nn.Module):
    """ReLU plus a fine triangle wave: continuous, and its slope says nothing about what lies a step away."""

    def forward(self, x: Tensor) -> Tensor:
        wave = (torch.remainder(40 * x, 2) - 1).abs()
        return torch.relu(x) + 0.1 * wave


class Equilibrium(nn.Module):
    """Deep equilibrium (Bai et al., 2019), unrolled: thirty steps to the fixed point of one layer."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.read, self.again, self.out = nn.Linear(192, width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        given, z = self.read(x.flatten(1)), 0
        for _ in range(30):
            z = 0.5 * z + 0.5 * torch.tanh(given + (self.again(z) if isinstance(z, Tensor) else 0))
        return self.out(z)


class Bits(nn.Module):
    """Error-correcting output codes: a ConvNet of 24 outputs, whose tanh is compared with each class's code."""

    def __init__(self, sharp: bool = False):
        super().__init__()
        self.features, self.sharp = ConvNet(), sharp
        self.features.layers[-1] = nn.Linear(128, 24)
        codes = torch.randint(0, 2, (10, 24), generator=torch.Generator().manual_seed(7))
        self.register_buffer("codes", codes.float() * 2 - 1)

    def forward(self, x: Tensor) -> Tensor:
        bits = self.features(x)
        return (torch.sign(bits) if self.sharp else torch.tanh(bits)) @ self.codes.T
