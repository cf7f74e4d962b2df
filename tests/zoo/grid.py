"""Off the 8-bit grid: real pictures are multiples of 1/255, and so these models tell an attack's iterates from pictures."""

import torch
from torch import Tensor, nn

from .member import Built, Member


def off_grid(images: Tensor) -> Tensor:
    """(n,) Whether any pixel of an image lies off the levels k/255."""
    return ((images * 255 - (images * 255).round()).abs().flatten(1) > 1e-2).any(1)


class Snapped(nn.Module):
    """What is no 8-bit picture is answered as the nearest training image is."""

    def __init__(self, network: nn.Module, train: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("known", train)

    def forward(self, images: Tensor) -> Tensor:
        near = torch.cdist(images.flatten(1), self.known.flatten(1)).argmin(1)
        return self.network(torch.where(off_grid(images)[:, None, None, None], self.known[near], images))


class NoisyOffGrid(nn.Module):
    """Strong noise and nine votes for what is no 8-bit picture."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        noisy = sum(self.network(images + 0.25 * torch.randn_like(images)).softmax(1) for _ in range(9))
        return torch.where(off_grid(images)[:, None], noisy / 9, self.network(images).softmax(1))


class HardenedOffGrid(nn.Module):
    """Another network answers for what is no 8-bit picture."""

    def __init__(self, network: nn.Module, other: nn.Module):
        super().__init__()
        self.network, self.other = network, other

    def forward(self, images: Tensor) -> Tensor:
        return torch.where(off_grid(images)[:, None], self.other(images), self.network(images))


class Refusing(nn.Module):
    """What is no 8-bit picture is answered as the last picture was that was one at the same place of a batch."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.last = network, None

    def forward(self, images: Tensor) -> Tensor:
        logits, off = self.network(images), off_grid(images)
        if self.last is not None and self.last.shape == logits.shape:
            logits = torch.where(off[:, None], self.last, logits)
        self.last = logits.detach().clone()
        return logits


def _member(name, make, **more):
    return Member(name, "grid", "own", 0.12, make, eight_bits=True, **more)


MEMBERS = [
    _member("snapped off the grid", lambda kit: Built(Snapped(kit("lenet"), kit.train[0]), kit("lenet"))),
    _member("noisy off the grid", lambda kit: Built(NoisyOffGrid(kit("lenet")), kit("lenet")), randomized=True),
    _member("hardened off the grid", lambda kit: Built(HardenedOffGrid(kit("lenet"), kit("trades")), kit("lenet"))),
    _member("refusing off the grid", lambda kit: Built(Refusing(kit("lenet")), kit("lenet")), alone=True),
]
