"""The settings of the benchmark, their networks, and the images that every network gets right."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

import escrime
from escrime.data import DATASETS, load
from escrime.models.running import network_batch

from .small import SIZE, Small

MOST_IMAGES = 256


@dataclass(frozen=True)
class Setting:
    """A network at an image size, and the ε of its fixed-budget attacks. arch: a name that escrime builds, or a class."""

    name: str
    title: str
    arch: str | type[nn.Module]
    size: int
    eps: float

    def network(self, classes: int, weights: str | None) -> nn.Module:
        """With the weights in a file, or random ones."""
        if isinstance(self.arch, str):
            return escrime.build(self.arch, classes, weights=weights)
        model = self.arch(classes).eval()
        if weights is not None:
            model.load_state_dict(load_file(weights))
        return model


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("googlenet", "GoogLeNet, 224 px", "googlenet", 224, 4 / 255),
        Setting("resnet", "small ResNet, 32 px", "wide_resnet_small", 32, 8 / 255),
        Setting("small", "ResNet of 73,000 weights, 32 px", Small, SIZE, 8 / 255),
    )
}


@dataclass(frozen=True)
class Subject:
    """A model with the images (N, C, H, W) that it gets right, and their labels (N,)."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    random: bool  # its weights are random, so its accuracies mean nothing


def subject(setting: Setting, weights: str | None, data, images: int | None, classes: int, target: int, device) -> Subject:
    """Build the model of a setting and pick its images.

    images: how many, at most; by default what escrime puts through the network at a time, up to MOST_IMAGES, so that
    every peer gets a batch of the same size. Images of the class `target` are left out: directed attacks need another.
    The parameters are frozen, which spares the peers that differentiate by all of them the work.
    """
    model = setting.network(classes, weights).to(device).requires_grad_(False)
    count = images or min(MOST_IMAGES, network_batch(torch.zeros(1, 3, setting.size, setting.size, device=device)))
    if data is None:
        noise = torch.rand(count, 3, setting.size, setting.size, generator=torch.Generator().manual_seed(0)).to(device)
        predicted = _predict(model, noise)
        # Random weights may call everything the target class; then the images count as the class after it.
        return Subject(model, noise, torch.where(predicted == target, (target + 1) % classes, predicted), True)
    found, labels = [], []
    for part, truth in data:
        part, truth = part.to(device), truth.to(device)
        right = (_predict(model, part) == truth) & (truth != target)
        found.append(part[right])
        labels.append(truth[right])
        if sum(map(len, found)) >= count:
            break
    found, labels = torch.cat(found)[:count], torch.cat(labels)[:count]
    if not len(found):
        raise escrime.EscrimeError(
            f"the {setting.title} model gets no image right (weights: {weights or 'random'}); give trained weights for it."
        )
    return Subject(model, found, labels, weights is None)


def batches(source: str | None, folder: str | None, setting: Setting, size: int = 64):
    """(images, labels) of the test images of an escrime dataset or an .npz file; None without a source.

    An .npz file holds `images`, uint8 or float in [0, 1] (N, 3, H, W), and `labels` (N,); other sizes are resized.
    """
    if source is None:
        return None
    if source in DATASETS:
        test = load(source, split="test", size=setting.size, folder=folder).test
        order = np.random.default_rng(0).permutation(len(test))  # listings are sorted by class
        return (test.batch(order[start : start + size]) for start in range(0, len(test), size))
    return _stored(Path(source), setting.size, size)


def _stored(path: Path, side: int, size: int):
    if not path.is_file():
        raise escrime.EscrimeError(f"data {str(path)!r} is no file and no dataset; give an .npz file or {', '.join(DATASETS)}.")
    with np.load(path, allow_pickle=False) as content:
        if not {"images", "labels"} <= set(content):
            raise escrime.EscrimeError(f"{path} holds {', '.join(content)}; it needs the arrays 'images' and 'labels'.")
        pixels, labels = content["images"], content["labels"]
    for start in range(0, len(pixels), size):
        part = torch.from_numpy(pixels[start : start + size])
        part = part.float() / 255 if part.dtype == torch.uint8 else part.float()
        if part.shape[-1] != side:
            part = interpolate(part, (side, side), mode="bilinear", antialias=True).clamp(0, 1)
        yield part, torch.from_numpy(labels[start : start + size]).long()


@torch.no_grad()
def _predict(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).argmax(1)
