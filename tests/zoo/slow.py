"""Slow convergence: many steps each still gain a little."""

import torch
from torch import Tensor, nn

from .flat import SoftVotes
from .member import Built, Member


class Distances(nn.Module):
    """Minus the mean distance of the k nearest training images of each class."""

    def __init__(self, images: Tensor, labels: Tensor, k: int):
        super().__init__()
        self.k = k
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("labels", labels)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        own = [torch.cdist(flat, self.images[self.labels == c]).topk(self.k, largest=False).values for c in range(10)]
        return -torch.stack([d.mean(1) for d in own], 1)


class WeightedVotes(SoftVotes):
    """The k nearest training images vote with one over their distance: a hard choice, and smooth weights."""

    def forward(self, images: Tensor) -> Tensor:
        near = torch.cdist(images.flatten(1), self.images).topk(self.k, largest=False)
        weights = 1 / (near.values + 1e-3)
        return (weights[..., None] * self.labels[near.indices]).sum(1) / weights.sum(1, keepdim=True)


class TopPixels(nn.Module):
    """Only the brightest pixels are seen, those alone."""

    def __init__(self, network: nn.Module, count: int):
        super().__init__()
        self.network, self.count = network, count

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(2)
        least = flat.topk(self.count, dim=2).values[..., -1:]
        return self.network((flat * (flat >= least)).view_as(images))


class Iterated(nn.Module):
    """Six rounds in which the picture is drawn to the training images near it, then the network."""

    def __init__(self, network: nn.Module, train: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("known", train.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        z = images.flatten(1)
        for _ in range(6):
            near = torch.softmax(-8 * torch.cdist(z, self.known).square(), 1)
            z = 0.5 * z + 0.5 * near @ self.known
        return self.network(z.view_as(images))


def _on_training_images(model, k):
    def make(kit):
        judged = model(*kit.train, k)
        return Built(judged, kit("conv"), (judged, SoftVotes(*kit.train, k), Distances(*kit.train, k)))

    return make


def _top(kit):
    return Built(TopPixels(kit("conv"), 30), kit("conv"), (TopPixels(kit("conv"), 30), kit("conv")))


MEMBERS = [
    Member("neighbors' distances", "slow", "own", 0.16, _on_training_images(Distances, 3), naive_fails=False),
    Member(
        "neighbors weighed", "slow", "Papernot and McDaniel, 2018", 0.16, _on_training_images(WeightedVotes, 7), on_model=True
    ),
    Member("brightest pixels", "slow", "own, after Xiao et al., 2020", 0.14, _top, naive_fails=False),
    Member("triangle waves", "slow", "own", 0.14, lambda kit: Built(kit("sawtooth"), kit("conv")), naive_fails=False),
    Member(
        "drawn to training images", "slow", "own", 0.16, lambda kit: Built(Iterated(kit("lenet"), kit.train[0]), kit("lenet")),
        naive_fails=False,
    ),
]  # fmt: skip
