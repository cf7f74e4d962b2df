"""Models with known answers, a small network with everything training must keep in order, small sets of images."""

import numpy as np
import torch
from torch import nn

from escrime.data import ImageSet


class Linear(nn.Module):
    """logits = W·x on flattened images; remembers what it was given in training mode."""

    def __init__(self, classes=3, features=3 * 4 * 4, dtype=torch.float64):
        super().__init__()
        gen = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, features, generator=gen, dtype=dtype))
        self.seen = []

    def forward(self, images):
        if self.training:
            self.seen.append(images.detach().clone())
        return images.flatten(1) @ self.weight.T


def make_network(classes=4, seed=0):
    """Convolution, BatchNorm and dropout, built without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3),
            nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 3 * 3, classes),
        )  # fmt: skip


def make_images(count=22, classes=4, side=8, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    names = tuple(f"image/{seed}/{row}" for row in range(count))
    return ImageSet("random", images, np.arange(count) % classes, names, tuple("abcdefgh"[:classes]))
