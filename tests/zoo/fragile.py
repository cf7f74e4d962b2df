"""Models that an evaluation may stumble over: gradients inside, votes in integers, loops in Python, batches of one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .member import Built, Member


class Purified(nn.Module):
    """Test-time purification: a few steps that make the network surer of itself, then its answer."""

    def __init__(self, network: nn.Module, steps: int, size: float):
        super().__init__()
        self.network, self.steps, self.size = network, steps, size

    def forward(self, images: Tensor) -> Tensor:
        x = images.detach().clone()
        with torch.enable_grad():
            for _ in range(self.steps):
                x.requires_grad_(True)
                surprise = -F.log_softmax(self.network(x), 1).amax(1).sum()
                (gradient,) = torch.autograd.grad(surprise, x)
                x = (x.detach() - self.size * gradient.sign()).clamp(0, 1)
        return self.network(x.detach())


class PurifiedByBackward(nn.Module):
    """The same by `backward()`, towards the average training image."""

    def __init__(self, network: nn.Module, mean: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)

    def forward(self, images: Tensor) -> Tensor:
        change = torch.zeros_like(images, requires_grad=True)
        with torch.enable_grad():
            loss = (images.detach() + change - self.mean).square().sum()
            loss.backward()
        return self.network((images - 0.03 * change.grad).detach().clamp(0, 1))


class Counted(nn.Module):
    """Votes of three networks and their mirror of brightness, as integers."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return sum(F.one_hot(network(images).argmax(1), 10) for network in self.networks)


class Looped(nn.Module):
    """A loop over images with Python numbers: each is cut at a level of its own."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        rows = []
        for image in images:
            level = round(image.max().item(), 2) / 12 or 1.0
            values = [[round(v / level) * level for v in row] for row in image.mean(0).tolist()]
            rows.append(torch.tensor(values).expand(3, -1, -1))
        return self.network(torch.stack(rows))


class Squeezed(nn.Module):
    """Squeezes what has length 1, so that one image alone is answered without its batch dimension."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).squeeze()


class InBatches(nn.Module):
    """Asserts that more than one image comes, as models do that were only ever used so."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        if len(images) < 2:
            raise ValueError("Expected more than 1 value per channel")
        return self.network(torch.round(images * 14) / 14)


class Halves(nn.Module):
    """Scores in float16, of which most are one."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.network(images) * 20, 1).half()


class Ruled(nn.Module):
    """−inf for the classes that a rule of thumb rules out: those whose mean image is far away."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("means", torch.stack([images[labels == k].mean(0).flatten() for k in range(10)]))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        far = torch.cdist(images.flatten(1), self.means).argsort(1)[:, 5:]
        return torch.softmax(logits * 100, 1).log().scatter(1, far, float("-inf"))


def _counted(kit):
    networks = [kit(name) for name in ("conv", "second", "third")]
    from .honest import Average

    return Built(Counted(*networks), kit("conv"), (Average(*networks), *networks))


def _purified(kit):
    return Built(Purified(kit("lenet"), 3, 0.02), kit("lenet"))


MEMBERS = [
    Member("purified by autograd", "fragile", "own, after Yoon et al., 2021", 0.12, _purified),
    Member(
        "purified by backward", "fragile", "own", 0.12,
        lambda kit: Built(PurifiedByBackward(kit("lenet"), kit.train[0].mean(0)), kit("lenet")),
    ),
    Member("integer votes", "fragile", "own", 0.14, _counted),
    Member("loops over numbers", "fragile", "own", 0.14, lambda kit: Built(Looped(kit("conv")), kit("conv"))),
    Member("only in batches", "fragile", "own", 0.12, lambda kit: Built(InBatches(kit("lenet")), kit("lenet"))),
    Member("half precision chances", "fragile", "own", 0.12, lambda kit: Built(Halves(kit("lenet")), kit("lenet"))),
    Member("classes ruled out", "fragile", "own", 0.14, lambda kit: Built(Ruled(kit("conv"), *kit.train), kit("conv"))),
    Member(
        "squeezed", "fragile", "own", 0.1, lambda kit: Built(Squeezed(kit("lenet")), kit("lenet")),
        kind="honest", naive_fails=False,
    ),
]  # fmt: skip
