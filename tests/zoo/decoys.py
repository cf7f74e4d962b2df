"""Decoys: where somebody differentiates, another network answers or lends its gradient."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .member import Built, Member


class ShownWithGradients(nn.Module):
    """While gradients are enabled, `decoy` answers in place of the network."""

    def __init__(self, network: nn.Module, decoy):
        super().__init__()
        self.network, self.decoy = network, decoy

    def forward(self, images: Tensor) -> Tensor:
        return (self.decoy if torch.is_grad_enabled() else self.network)(images)


class ShownToLeaves(ShownWithGradients):
    """The decoy answers where the input asks for a gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return (self.decoy if images.requires_grad else self.network)(images)


class Borrowed(ShownWithGradients):
    """The network's logits with the decoy's gradient, a straight-through estimator of the author's."""

    def forward(self, images: Tensor) -> Tensor:
        lent = self.decoy(images)
        return self.network(images).detach() + lent - lent.detach()


class Reversed(nn.Module):
    """The gradient of the logits points the other way."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return 2 * logits.detach() - logits


def shrunk(images: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(images, 4), size=images.shape[-2:], mode="bilinear", align_corners=False)


def _member(name, make, eps=0.12):
    return Member(name, "decoy", "own", eps, make)


MEMBERS = [
    _member(
        "blurred while gradients are on",
        lambda kit: Built(ShownWithGradients(kit("conv"), lambda x: kit("conv")(shrunk(x))), kit("conv")),
        0.14,
    ),
    _member("hardened while gradients are on", lambda kit: Built(ShownWithGradients(kit("lenet"), kit("pgd")), kit("lenet"))),
    _member("linear for leaves", lambda kit: Built(ShownToLeaves(kit("lenet"), kit("linear")), kit("lenet"))),
    _member("gradient of a hardened network", lambda kit: Built(Borrowed(kit("lenet"), kit("trades")), kit("lenet"))),
    _member(
        "gradient of a blurred network",
        lambda kit: Built(Borrowed(kit("conv"), lambda x: kit("conv")(shrunk(x))), kit("conv")),
        0.14,
    ),
    _member("gradient reversed", lambda kit: Built(Reversed(kit("conv")), kit("conv")), 0.14),
]
