"""Gradients that lack a component: the picture reaches the network in parts, of which only some carry a gradient."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .member import Built, Member

WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32).reshape(1, 3, 1, 1)


class Part(nn.Module):
    """`carried(images)` keeps its gradient, the rest of the picture is detached."""

    def __init__(self, network: nn.Module, carried):
        super().__init__()
        self.network, self.carried = network, carried

    def forward(self, images: Tensor) -> Tensor:
        part = self.carried(images)
        return self.network(part + (images - part).detach())


class LumaCodec(nn.Module):
    """Brightness goes through a numpy table with sixty levels, as in a codec; color stays in torch."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        luma = (images.detach().cpu().numpy() * WEIGHTS).sum(1, keepdims=True)
        coded = torch.from_numpy(np.round(luma * 60) / 60)
        color = images - (images * torch.from_numpy(WEIGHTS)).sum(1, keepdim=True)
        return self.network(color + coded)


def checkerboard(side: int) -> Tensor:
    rows = torch.arange(side)
    return ((rows[:, None] + rows) % 2).float()


def sparse(images: Tensor) -> Tensor:
    kept = torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(11)) < 0.1
    return images * kept


def rows(images: Tensor) -> Tensor:
    return images * (torch.arange(8) % 4 == 0).float().view(1, 1, 8, 1)


def red(images: Tensor) -> Tensor:
    return images * torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)


def outside(images: Tensor) -> Tensor:
    mask = torch.ones(8, 8)
    mask[1:7, 2:6] = 0
    return images * mask


def _part(name, carried, network="lenet", eps=0.12):
    def make(kit):
        return Built(Part(kit(network), carried), kit(network))

    return Member(name, "component", "own, after Athalye et al., 2018", eps, make)


MEMBERS = [
    Member("luma in numpy", "component", "own", 0.12, lambda kit: Built(LumaCodec(kit("lenet")), kit("lenet"))),
    _part("checkerboard of color carries", lambda x: x * checkerboard(8) * torch.tensor([1.0, -1, 0]).view(1, 3, 1, 1)),
    _part("border carries", outside),
    _part("a tenth of the pixels carries", sparse, "conv", 0.14),
    _part("every fourth row carries", rows),
    _part("mean brightness carries", lambda x: x.mean((1, 2, 3), keepdim=True).expand_as(x), "conv", 0.14),
    _part("quarters carry", lambda x: F.interpolate(F.avg_pool2d(x, 4), scale_factor=4), "conv", 0.14),
]
