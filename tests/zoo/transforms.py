"""Transformed inputs, detectors, ensembles and training that was overfitted."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from .member import Built, Member


class Transformed(nn.Module):
    """A numpy function images → images before the network."""

    def __init__(self, network: nn.Module, function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, images: Tensor) -> Tensor:
        changed = self.function(images.detach().cpu().numpy())
        return self.network(torch.from_numpy(np.ascontiguousarray(changed, dtype=np.float32)))


def variation(images: np.ndarray) -> np.ndarray:
    """Total variation minimization (Guo et al., 2018), ten steps on a smoothed norm."""
    x = images.copy()
    for _ in range(10):
        down, right = np.diff(x, axis=2, append=x[:, :, -1:]), np.diff(x, axis=3, append=x[:, :, :, -1:])
        size = np.sqrt(down**2 + right**2 + 1e-2)
        down, right = down / size, right / size
        spread = down - np.roll(down, 1, 2) + right - np.roll(right, 1, 3)
        x += 0.02 * (0.3 * spread - (x - images))
    return x


def haar(images: np.ndarray) -> np.ndarray:
    """Haar wavelets with small coefficients set to 0 (Prakash et al., 2018)."""
    a, b, c, d = images[..., ::2, ::2], images[..., ::2, 1::2], images[..., 1::2, ::2], images[..., 1::2, 1::2]
    mean, parts = (a + b + c + d) / 4, [(a + b - c - d) / 4, (a - b + c - d) / 4, (a - b - c + d) / 4]
    h, v, x = (part * (np.abs(part) > 0.04) for part in parts)
    out = np.empty_like(images)
    out[..., ::2, ::2], out[..., ::2, 1::2] = mean + h + v + x, mean + h - v - x
    out[..., 1::2, ::2], out[..., 1::2, 1::2] = mean - h + v - x, mean - h - v + x
    return out


def smoothed(images: np.ndarray) -> np.ndarray:
    return gaussian_filter(images, (0, 0, 0.4, 0.4))


class Quilted(nn.Module):
    """Image quilting (Guo et al., 2018): every 2×2 patch is replaced by the nearest one of the training images."""

    def __init__(self, network: nn.Module, train: Tensor):
        super().__init__()
        self.network = network
        patches = F.unfold(train[::2, :1], 2, stride=2).transpose(1, 2).reshape(-1, 4)
        self.patches = np.unique((patches.numpy() * 4).round() / 4, axis=0)

    def forward(self, images: Tensor) -> Tensor:
        own = F.unfold(images.detach().mean(1, keepdim=True), 2, stride=2).transpose(1, 2)
        rows = own.reshape(-1, 4).cpu().numpy()
        near = ((rows[:, None] - self.patches) ** 2).sum(2).argmin(1)
        patches = torch.from_numpy(self.patches[near]).view(len(images), -1, 4).transpose(1, 2)
        return self.network(F.fold(patches, images.shape[-2:], 2, stride=2).expand(-1, 3, -1, -1).float())


class Crops(nn.Module):
    """The majority of the answers to nine crops, each enlarged again and rounded to 8 levels."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        padded, votes = F.pad(images, (1, 1, 1, 1)), 0
        for top in range(3):
            for left in range(3):
                crop = torch.round(padded[:, :, top : top + 8, left : left + 8] * 7) / 7
                weight = 2 if top == left == 1 else 0.5
                votes = votes + weight * F.one_hot(self.network(crop).argmax(1), 10).float()
        return votes


class Rerouting(nn.Module):
    """A detector: what the picture's rounding changes much in the logits is answered by rounding's own answer."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        squeezed = self.network(torch.round(images * 4) / 4)
        suspicious = (logits.softmax(1) - squeezed.softmax(1)).abs().sum(1) > 0.5
        return torch.where(suspicious[:, None], 9.0 * F.one_hot(squeezed.argmax(1), 10), logits)


class Committee(nn.Module):
    """Members vote by label; where they disagree the first one decides. Each shows the gradient of another."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        logits = [network(images) for network in self.networks]
        votes = sum(F.one_hot(own.argmax(1), 10) for own in logits)
        shown = sum((-1) ** k * own for k, own in enumerate(logits))
        return votes + F.one_hot(logits[0].argmax(1), 10) * 0.5 + shown - shown.detach()


class Masked(nn.Module):
    """Bit depth: only the upper four bits of a pixel are seen, by integer shifts."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        codes = (images * 255).round().clamp(0, 255).to(torch.uint8)
        return self.network((codes >> 4).float() / 15)


def _committee(kit):
    from .honest import Average

    networks = [kit(name) for name in ("conv", "second", "third")]
    return Built(Committee(*networks), kit("conv"), (Average(*networks), *networks))


def _changed(name, function, source, network="lenet", eps=0.12):
    make = lambda kit: Built(Transformed(kit(network), function), kit(network))  # noqa: E731
    return Member(name, "transforms", source, eps, make)


def _wrapped(name, source, wrap, network="lenet", eps=0.12, **more):
    return Member(name, "transforms", source, eps, lambda kit: Built(wrap(kit(network), kit), kit(network)), **more)


MEMBERS = [
    _changed("total variation", variation, "Guo et al., 2018"),
    _changed("wavelets", haar, "Prakash et al., 2018", "conv", 0.14),
    _changed("blur in numpy", smoothed, "own", "conv", 0.14),
    _wrapped("quilting", "Guo et al., 2018", lambda network, kit: Quilted(network, kit.train[0])),
    _wrapped("crops vote", "Guo et al., 2018", lambda network, kit: Crops(network), "conv", 0.14),
    _wrapped("bit depth by shifts", "Xu et al., 2018", lambda network, kit: Masked(network)),
    _wrapped("detector reroutes to rounding", "Xu et al., 2018", lambda network, kit: Rerouting(network)),
    Member("committee with crossed gradients", "ensembles", "own", 0.14, _committee),
    Member(
        "overfitted to one long step", "overfitted", "Wong et al., 2020", 0.2,
        lambda kit: Built(kit("fgsm wide step"), kit("lenet"), (kit("fgsm wide step"),)), naive_fails=False,
    ),
]  # fmt: skip
