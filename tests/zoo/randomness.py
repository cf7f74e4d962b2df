"""Randomness that a few clean images do not show, or that one draw takes for an answer; and models with known chances."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .grid import off_grid
from .member import Built, Member


class Drawn(nn.Module):
    """`noise(images)` is added to the picture."""

    def __init__(self, network: nn.Module, noise):
        super().__init__()
        self.network, self.noise = network, noise

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + self.noise(images))


def once(images: Tensor) -> Tensor:
    return 0.2 * torch.randn_like(images[:1])


def heavy(images: Tensor) -> Tensor:
    return (0.03 * torch.randn_like(images) / torch.randn_like(images).abs().clamp_min(1e-3)).clamp(-1, 1)


def doubtful(images: Tensor) -> Tensor:
    """Only where a picture is no 8-bit picture."""
    return 0.2 * off_grid(images).float().view(-1, 1, 1, 1) * torch.randn_like(images)


class OneOf(nn.Module):
    """One of several networks answers, another one each time."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return self.networks[int(torch.randint(len(self.networks), ()))](images)


class RareGradient(nn.Module):
    """One pass in fifty carries a gradient."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        carried = torch.rand(()) < 0.02
        return self.network(images if carried else images.detach()) + 0 * images.sum()


class Dropped(nn.Module):
    """Dropout stays on: pixels are missing at test time."""

    def __init__(self, network: nn.Module, share: float):
        super().__init__()
        self.network, self.share = network, share

    def forward(self, images: Tensor) -> Tensor:
        kept = torch.rand(len(images), 1, *images.shape[2:]) >= self.share
        rough = images * kept
        filled = F.avg_pool2d(rough, 3, 1, 1) / F.avg_pool2d(kept.float(), 3, 1, 1).clamp_min(0.1)
        return self.network(torch.where(kept, images, filled))


class Chance(nn.Module):
    """Looks at nothing: all images get the same random logits, of a hundred parameters."""

    def __init__(self, right: float):
        super().__init__()
        self.right = right
        self.weights = nn.Parameter(torch.zeros(100))

    def forward(self, images: Tensor) -> Tensor:
        return torch.randn(len(images), 10) + 0 * self.weights.sum()


class ErrsAtRandom(nn.Module):
    """The network's answer, but at a known rate another class, whatever the picture."""

    def __init__(self, network, rate: float):
        super().__init__()
        self.network, self.rate = network, rate

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        wrong = (torch.rand(len(images), device=images.device) < self.rate)[:, None]
        return torch.where(wrong, logits.roll(1, 1), logits)


class Key(nn.Module):
    """Knows each of the judged images by its nearest one, and so cannot be fooled within any ε below half of their distance."""

    def __init__(self, images: Tensor, labels: Tensor):
        super().__init__()
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("labels", F.one_hot(labels, 10).float())

    def forward(self, images: Tensor) -> Tensor:
        return -torch.stack([torch.cdist(images.flatten(1), self.images[self.labels[:, k] > 0]).amin(1) for k in range(10)], 1)


def _drawn(name, noise, source, network="lenet", eps=0.12, **more):
    make = lambda kit: Built(Drawn(kit(network), noise), kit(network))  # noqa: E731
    return Member(name, "randomness", source, eps, make, randomized=True, **more)


def _one_of(kit):
    from .honest import Average

    networks = [kit(name) for name in ("conv", "second", "third")]
    return Built(OneOf(*networks), kit("conv"), (Average(*networks),))


def _errs(kit):
    test = kit.test
    return Built(ErrsAtRandom(Key(*test), 0.18), Key(*test))


MEMBERS = [
    _drawn("one noise for the whole batch", once, "Liu et al., 2018", naive_fails=False),
    _drawn("heavy-tailed noise", heavy, "own", naive_fails=False),
    _drawn("noise for what is no picture", doubtful, "own", eight_bits=True),
    Member("one of three networks", "randomness", "own", 0.14, _one_of, randomized=True, naive_fails=False),
    Member(
        "rare gradient", "randomness", "own", 0.14, lambda kit: Built(RareGradient(kit("conv")), kit("conv")), randomized=False
    ),
    Member(
        "missing pixels", "randomness", "own", 0.14, lambda kit: Built(Dropped(kit("conv"), 0.3), kit("conv")),
        randomized=True, naive_fails=False,
    ),
    Member("errs at random", "chances", "own", 0.03, _errs, kind="chance", randomized=True, known_truth=0.82),
    Member(
        "sees nothing", "chances", "own", 0.1, lambda kit: Built(Chance(0.1), kit("conv")),
        kind="chance", randomized=True, known_truth=0.1,
    ),
]  # fmt: skip
