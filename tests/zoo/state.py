"""State: models that count their calls or remember what they were asked."""

import torch
from torch import Tensor, nn

from .member import Built, Member


class Counting(nn.Module):
    """After `calls` calls another network answers."""

    def __init__(self, network: nn.Module, other: nn.Module, calls: int):
        super().__init__()
        self.network, self.other, self.calls, self.count = network, other, calls, 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        return (self.network if self.count <= self.calls else self.other)(images)


class Remembering(nn.Module):
    """Blacklight (Li et al., 2022): who asks nearly the same again is an attacker, and gets the answer that was given."""

    def __init__(self, network: nn.Module, radius: float):
        super().__init__()
        self.network, self.radius = network, radius
        self.seen, self.given = None, None

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        flat = images.detach().flatten(1)
        if self.seen is not None:
            distance, nearest = torch.cdist(flat, self.seen, p=float("inf")).min(1)
            logits = torch.where((distance <= self.radius)[:, None], self.given[nearest], logits)
            new = distance > self.radius
            flat, fresh = flat[new], logits.detach()[new]
            self.seen, self.given = torch.cat([self.seen, flat])[-4000:], torch.cat([self.given, fresh])[-4000:]
        else:
            self.seen, self.given = flat, logits.detach()
        return logits


class Inertia(nn.Module):
    """Video smoothing: logits are blended with those of the previous call, where it had as many images."""

    def __init__(self, network: nn.Module, keep: float):
        super().__init__()
        self.network, self.keep, self.before = network, keep, None

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        if self.before is not None and self.before.shape == logits.shape:
            logits = (1 - self.keep) * logits + self.keep * self.before
        self.before = logits.detach()
        return logits


def counting(network, other, calls: int):
    """The same as a plain function with its count in a closure."""
    count = 0

    def answer(images: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return network(images) if count <= calls else other(images)

    return answer


def _member(name, make, source="own", **more):
    return Member(name, "state", source, 0.12, make, alone=True, **more)


MEMBERS = [
    _member("hardened after five calls", lambda kit: Built(Counting(kit("lenet"), kit("trades"), 5), kit("lenet"))),
    _member("hardened after two calls, a closure", lambda kit: Built(counting(kit("lenet"), kit("trades"), 2), kit("lenet"))),
    _member("remembers what it was asked", lambda kit: Built(Remembering(kit("lenet"), 0.25), kit("lenet")), "Li et al., 2022"),
    _member("inertia", lambda kit: Built(Inertia(kit("lenet"), 0.9), kit("lenet"))),
]
