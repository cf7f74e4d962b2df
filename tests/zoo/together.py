"""Batches: what a model answers depends on what else comes with an image."""

import torch
from torch import Tensor, nn

from .grid import Snapped
from .member import Built, Member


class Crowd(nn.Module):
    """From `least` images on, each is first replaced by the mean of its nearest training images."""

    def __init__(self, network: nn.Module, train: Tensor, least: int):
        super().__init__()
        self.network, self.least = network, least
        self.register_buffer("known", train)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) >= self.least:
            near = torch.cdist(images.detach().flatten(1), self.known.flatten(1)).topk(3, largest=False).indices
            images = self.known[near].mean(1)
        return self.network(images)


class Handover(nn.Module):
    """From `least` images on, another network takes over."""

    def __init__(self, network: nn.Module, other: nn.Module, least: int):
        super().__init__()
        self.network, self.other, self.least = network, other, least

    def forward(self, images: Tensor) -> Tensor:
        return (self.network if len(images) < self.least else self.other)(images)


class First(nn.Module):
    """The first image of a batch gets the network's answer, the others that of a hardened one."""

    def __init__(self, network: nn.Module, other: nn.Module):
        super().__init__()
        self.network, self.other = network, other

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.network(images[:1]), self.other(images[1:])]) if len(images) > 1 else self.network(images)


class Alike(nn.Module):
    """Images that resemble each other within a batch are an attack's: they are answered as their nearest training image is.

    The measure is crude: half of the images of any large batch resemble another.
    """

    def __init__(self, network: nn.Module, train: Tensor, radius: float):
        super().__init__()
        self.network, self.radius, self.snapped = network, radius, Snapped(network, train)

    def forward(self, images: Tensor) -> Tensor:
        distance = torch.cdist(images.flatten(1), images.flatten(1)) + 1e9 * torch.eye(len(images))
        alike = distance.amin(1) < self.radius
        near = torch.cdist(images.flatten(1), self.snapped.known.flatten(1)).argmin(1)
        return self.network(torch.where(alike[:, None, None, None], self.snapped.known[near], images))


class Centered(nn.Module):
    """Features are compared with the batch's own mean features: with few images there is little left of them."""

    def __init__(self, network: nn.Module, other: nn.Module):
        super().__init__()
        self.network, self.other = network, other

    def forward(self, images: Tensor) -> Tensor:
        share = min(1.0, max(0.0, (len(images) - 1) / 16))
        return (1 - share) * self.network(images).softmax(1) + share * self.other(images).softmax(1)


def _member(name, make, eps=0.12):
    return Member(name, "batch", "own", eps, make, alone=True)


MEMBERS = [
    _member("neighbors' mean in a crowd", lambda kit: Built(Crowd(kit("lenet"), kit.train[0], 24), kit("lenet"))),
    _member("hardened in a crowd", lambda kit: Built(Handover(kit("lenet"), kit("trades"), 16), kit("lenet"))),
    _member("first of the batch", lambda kit: Built(First(kit("lenet"), kit("trades")), kit("lenet"))),
    _member("alike within the batch", lambda kit: Built(Alike(kit("conv"), kit.train[0], 3.0), kit("conv")), 0.14),
    _member("weighed by the batch", lambda kit: Built(Centered(kit("lenet"), kit("trades")), kit("lenet"))),
]
