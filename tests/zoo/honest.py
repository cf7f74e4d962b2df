"""Honest models: an attack finds what there is to find, and the verdict may be believed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flat import Output
from .member import Built, Member


class Average(nn.Module):
    """The mean of several networks' logits."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images) for network in self.networks]).mean(0)


class Input(nn.Module):
    """`shape(images)` before the network."""

    def __init__(self, network: nn.Module, shape):
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.shape(images))


class Normalized(nn.Module):
    """Mean and deviation inside, taken back by the network's first use of them."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        normalized = (images - self.mean) / 0.25
        return self.network(normalized * 0.25 + self.mean)


class Impossible(nn.Module):
    """An eleventh class that can never be, with −inf for its logit."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return torch.cat([logits, torch.full_like(logits[:, :1], float("-inf"))], 1)


class Parity(nn.Module):
    """Two classes, even and odd."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return torch.stack([logits[:, 0::2].logsumexp(1), logits[:, 1::2].logsumexp(1)], 1)


class Doubles(nn.Module):
    """Computes in float64, and answers in it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).double() / 3


def _is(name, network, eps):
    return Member(name, "honest", "own", eps, lambda kit: Built(kit(network), kit(network)), kind="honest", naive_fails=False)


def _made(name, make, eps=0.1, inside=None):
    """inside: the network that a strong attack is run on where `make(kit)` itself is not fit for one."""

    def built(kit):
        model = make(kit)
        return Built(model, model if inside is None else kit(inside))

    return Member(name, "honest", "own", eps, built, kind="honest", naive_fails=False)


def _parity(kit):
    model = Parity(kit("lenet"))
    return Built(model, model, relabel=lambda labels: labels % 2)


MEMBERS = [
    *(_is(name, name, 0.1) for name in ("lenet", "wide", "conv")),
    *(_is(name, name, 0.15) for name in ("pgd", "trades", "n-fgsm")),
    _is("linear", "linear", 0.05),
    *(_is(name, name, 0.1) for name in ("tanh", "gelu", "softplus", "hardswish", "pooled", "normed", "attentive")),
    _is("polynomial kernel", "polynomial", 0.08),
    _is("squared distances from prototypes", "prototypes", 0.1),
    _is("equilibrium", "equilibrium", 0.1),
    _is("hardened tanh", "hardened tanh", 0.15),
    _is("hardened with BatchNorm", "hardened normed", 0.15),
    _is("hardened softplus (TRADES)", "hardened softplus", 0.15),
    _made("logits × 30", lambda kit: Output(kit("lenet"), lambda z: 30 * z)),
    _made("log-probabilities", lambda kit: Output(kit("conv"), lambda z: F.log_softmax(z, 1))),
    _made("clamped input", lambda kit: Input(kit("conv"), lambda x: x.clamp(0, 1))),
    _made("normalized inside", lambda kit: Normalized(kit("lenet"))),
    _made("average of three", lambda kit: Average(kit("conv"), kit("second"), kit("third"))),
    _made("impossible class", lambda kit: Impossible(kit("lenet")), inside="lenet"),
    _made("float64 logits", lambda kit: Doubles(kit("lenet")), inside="lenet"),
    Member("even or odd", "honest", "own", 0.1, _parity, kind="honest", naive_fails=False),
]
