"""Real photos: MobileNetV2 with ImageNet's weights, cut to Imagenette's ten classes, at 96 px, honest and behind defenses."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import escrime
from escrime.data import IMAGENET_INDICES, WNIDS

from .component import LumaCodec
from .decoys import Borrowed
from .flat import Output, between
from .member import Built, Kit, Member

SIDE, EACH = 96, 4  # pixels; photos of every class


@lru_cache
def photos(folder: Path) -> tuple[Tensor, Tensor]:
    """The first photos of every class that no network was trained on (ImageNet's own validation set), (40, 3, 96, 96)."""
    pixels, labels = [], []
    for place, wnid in enumerate(WNIDS):
        for file in sorted(Path(folder).glob(f"*/{wnid}/ILSVRC2012_val_*.JPEG"), key=lambda file: file.name)[:EACH]:
            with Image.open(file) as image:
                pixels.append(np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
            labels.append(place)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)


@lru_cache
def mobile(folder: Path) -> nn.Module:
    weights = folder / "mobilenet_v2-imagenet1k.safetensors"
    how = {"weights": weights, "head": "slice", "class_indices": list(IMAGENET_INDICES), "mean": 0.5, "std": 0.5}
    return escrime.build("mobilenet_v2", 10, **how).eval()


class Small(nn.Module):
    """The network sees a small copy, enlarged again."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(F.interpolate(F.avg_pool2d(images, 4), SIDE))


class Mirrored(nn.Module):
    """The mean of the logits of a photo and its mirror image."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return (self.network(images) + self.network(images.flip(3))) / 2


def _photo(name, make, **more):
    def built(kit: Kit) -> Built:
        network = mobile(kit.weights)
        model = make(network)
        return Built(model, network, (model,) if more else (network,))

    return Member(name, "photos", "own", 0.002, built, photos=True, long=True, **more)


HONEST = {"kind": "honest", "naive_fails": False}
MEMBERS = [
    _photo("photos: luma in numpy", LumaCodec),
    _photo("photos: gradient of a small copy", lambda net: Borrowed(net, Small(net))),
    _photo("photos: tanh plateau", lambda net: Output(net, lambda z: torch.tanh(60 * between(z)))),
    _photo("photos: MobileNetV2", lambda net: net, **HONEST),
    _photo("photos: mirrored", Mirrored, **HONEST),
]
