"""Backward passes that say something else: autograd functions and hooks of the author's."""

import torch
from torch import Tensor, nn

from .member import Built, Member


class _Permuted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor):
        order = torch.randperm(gradient[0].numel(), generator=torch.Generator().manual_seed(3))
        return gradient.flatten(1)[:, order].view_as(gradient)


class _Noisy(_Permuted):
    @staticmethod
    def backward(ctx, gradient: Tensor):
        size = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return gradient + size * torch.randn_like(gradient)


class _Smallest(_Permuted):
    """Only the pixels with the least slope, a fifth of them."""

    @staticmethod
    def backward(ctx, gradient: Tensor):
        flat = gradient.abs().flatten(1)
        least = flat.kthvalue(flat.shape[1] // 5, dim=1).values.view(-1, 1, 1, 1)
        return gradient * (gradient.abs() <= least)


class _Moved(_Permuted):
    """Two pixels down and three to the right."""

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient.roll((2, 3), (2, 3))


class _Orthogonal(_Permuted):
    """The gradient without the part that lies along its own signs: a step by the signs gains nothing to first order."""

    @staticmethod
    def backward(ctx, gradient: Tensor):
        flat = gradient.flatten(1)
        others = flat.sign().flip(1)
        others = others * torch.where((flat * others).sum(1, keepdim=True) > 0, -1.0, 1.0)
        return others.view_as(gradient) * flat.abs().mean(1).view(-1, 1, 1, 1)


class _Vanishing(_Permuted):
    """Eight orders of magnitude less each way; float32 keeps what is left for some images and not for others."""

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return (gradient * 1e-38) * 1e-6


class Said(nn.Module):
    """The picture passes an autograd function on its way to the network."""

    def __init__(self, network: nn.Module, function: type):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.function.apply(images))


class Hooked(nn.Module):
    """A hook on the picture inside changes its gradient."""

    def __init__(self, network: nn.Module, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images: Tensor) -> Tensor:
        inside = images * 1
        if inside.requires_grad:
            inside.register_hook(self.change)
        return self.network(inside)


class HookedFeatures(nn.Module):
    """A hook on the logits' gradient that gives each image the gradient of its neighbor in the batch."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: gradient.roll(1, 0))
        return logits


def without_largest(gradient: Tensor) -> Tensor:
    """The half of the pixels with the largest slope is silent, of the rest the sign is turned."""
    flat = gradient.abs().flatten(1)
    middle = flat.median(dim=1).values.view(-1, 1, 1, 1)
    return -gradient * (gradient.abs() <= middle)


def _said(name, function, network="conv", eps=0.14):
    make = lambda kit: Built(Said(kit(network), function), kit(network))  # noqa: E731
    return Member(name, "backward", "own, after Athalye et al., 2018", eps, make)


MEMBERS = [
    _said("backward permutes the pixels", _Permuted),
    _said("backward adds noise", _Noisy),
    _said("backward keeps the smallest", _Smallest, "lenet", 0.12),
    _said("backward moves the picture", _Moved),
    _said("backward turns the signs", _Orthogonal, "lenet", 0.12),
    _said("backward vanishes", _Vanishing),
    Member("hook turns half", "backward", "own", 0.14, lambda kit: Built(Hooked(kit("conv"), without_largest), kit("conv"))),
    Member("hook mixes the batch", "backward", "own", 0.12, lambda kit: Built(HookedFeatures(kit("lenet")), kit("lenet"))),
]
