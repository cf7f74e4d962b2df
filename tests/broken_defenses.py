"""Published defenses that are known to be false, re-created on scikit-learn's digits, beside honest models.

What an evaluation's validity checks must flag (`broken`) or leave alone (`honest`). Every defense maps float images
(N, 3, 8, 8) in [0, 1] to logits (N, 10) and is as naive as its authors' code: nothing here helps an attack. Most of them
fell in Athalye, Carlini and Wagner (2018), Obfuscated gradients give a false sense of security.
"""

import fcntl
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor, nn

import escrime
from escrime.data import load
from escrime.models import load_weights, save_weights
from escrime.randomness import generator, key
from escrime.training import TrainSettings, fit, objective

# ---- Defenses that hide the gradient ----


class Quantized(nn.Module):
    """Guo et al. (2018), Xu et al. (2018): pixels are rounded to a few levels, and rounding has no gradient."""

    def __init__(self, network: nn.Module, levels: int):
        super().__init__()
        self.network, self.levels = network, levels

    def forward(self, images: Tensor) -> Tensor:
        steps = self.levels - 1
        return self.network(torch.round(images * steps) / steps)


class Jpeg(nn.Module):
    """Guo et al. (2018), Das et al. (2017): every image goes through the real JPEG codec, which autograd cannot follow.

    The codec's blocks are 8×8, so a digit is enlarged to four times its side for it and averaged back.
    """

    def __init__(self, network: nn.Module, quality: int = 75):
        super().__init__()
        self.network, self.quality = network, quality

    def forward(self, images: Tensor) -> Tensor:
        large = F.interpolate(images.clamp(0, 1), scale_factor=4, mode="nearest")
        pixels = (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        decoded = torch.from_numpy(np.stack([self.coded(image) for image in pixels])).to(images.device)
        return self.network(F.avg_pool2d(decoded.permute(0, 3, 1, 2) / 255, 4))

    def coded(self, image: np.ndarray) -> np.ndarray:
        file = BytesIO()
        # Every color in full: halved, as by default, they are a low-pass filter, which hides nothing and does resist a little.
        Image.fromarray(image).save(file, "jpeg", quality=self.quality, subsampling=0)
        return np.asarray(Image.open(file), dtype=np.float32)


class MedianFiltered(nn.Module):
    """Xu et al. (2018), Feature squeezing: a 2×2 median filter, computed by scipy."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        filtered = median_filter(images.detach().cpu().numpy(), size=(1, 1, 2, 2), mode="reflect")
        return self.network(torch.from_numpy(filtered).to(images.device))


class Thermometer(nn.Module):
    """Buckman et al. (2018): a pixel becomes the list of thresholds it exceeds, and the network is trained on that."""

    def __init__(self, network: nn.Module, levels: int):
        super().__init__()
        self.network = network
        self.register_buffer("thresholds", torch.arange(levels).view(levels, 1, 1) / levels)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images[:, :, None] > self.thresholds).float().flatten(1, 2))


class Winners(nn.Module):
    """Xiao et al. (2020), Enhancing adversarial defense by k-winners-take-all: only a layer's largest values pass."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        least = flat.topk(max(1, round(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= least)).view_as(x)


class Saturated(nn.Module):
    """Papernot et al. (2016), Distillation: what a high temperature leaves at test time is logits so large that float32's
    softmax is exactly one-hot (Carlini and Wagner, 2017)."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) * self.temperature


class Detached(nn.Module):
    """Athalye et al. (2018), gradient masking at its plainest: the network sees a detached image, while a term that is
    always 0 keeps up the appearance of a gradient."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.detach()) + 0 * images.flatten(1).sum(1, keepdim=True)


class WithoutGrad(nn.Module):
    """Athalye et al. (2018), the same for a served model: it answers under no_grad."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


class _FlippedBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, signs: Tensor) -> Tensor:
        ctx.save_for_backward(signs)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (signs,) = ctx.saved_tensors
        return gradient * signs, None


class LyingBackward(nn.Module):
    """Athalye et al. (2018), shattered gradients on purpose: the identity, whose backward pass flips the sign of half of
    the pixels, always the same ones."""

    def __init__(self, network: nn.Module, side: int = 8):
        super().__init__()
        self.network = network
        order = torch.randperm(side * side, generator=generator("lying backward"))
        self.register_buffer("signs", torch.where(order < side * side // 2, -1.0, 1.0).view(1, 1, side, side))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(_FlippedBackward.apply(images, self.signs))


# ---- Defenses that smooth by noise ----


class ResizedAndPadded(nn.Module):
    """Xie et al. (2018), Mitigating adversarial effects through randomization: a random size, then a random place.

    `each`: one draw for each image; otherwise one for the whole batch, as in the authors' code.
    """

    def __init__(self, network: nn.Module, largest: int, side: int, each: bool):
        super().__init__()
        self.network, self.largest, self.side, self.each = network, largest, side, each

    def forward(self, images: Tensor) -> Tensor:
        parts = images.split(1) if self.each else [images]
        return self.network(torch.cat([self.placed(part) for part in parts]))

    def placed(self, images: Tensor) -> Tensor:
        size = int(torch.randint(images.shape[-1], self.largest + 1, ()))
        left, top = torch.randint(0, self.side - size + 1, (2,)).tolist()
        resized = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
        return F.pad(resized, (left, self.side - size - left, top, self.side - size - top))


class Pruned(nn.Module):
    """Dhillon et al. (2018), Stochastic activation pruning: after the ReLU, activations are drawn in proportion to their
    size, with replacement; what was drawn is divided by its chance of it, the rest is 0."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = F.relu(x).flatten(1)
        draws = max(1, round(self.share * flat.shape[1]))
        chance = flat / flat.sum(1, keepdim=True).clamp_min(1e-12)
        drawn = torch.multinomial(chance.detach() + 1e-12, draws, replacement=True)
        kept = torch.zeros_like(flat).scatter_(1, drawn, 1.0)
        return (kept * flat / (1 - (1 - chance) ** draws).clamp_min(1e-6)).view_as(x)


class Noisy(nn.Module):
    """Liu et al. (2018), Random self-ensemble, its input layer: Gaussian noise is added before the network."""

    def __init__(self, network: nn.Module, sigma: float):
        super().__init__()
        self.network, self.sigma = network, sigma

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + self.sigma * torch.randn_like(images))


class NoisyFeatures(nn.Module):
    """He et al. (2019), Parametric noise injection, without its adversarial training: noise after every ReLU, as large as
    `share` of the layer's standard deviation."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return x + self.share * x.detach().std() * torch.randn_like(x)


# ---- Networks and their training ----


class ConvNet(nn.Module):
    """Two 3×3 convolutions and a hidden layer, each followed by its own `activation()`; 8×8 inputs of any depth."""

    def __init__(self, channels: int = 3, activation: Callable[[], nn.Module] = nn.ReLU, width: int = 32, hidden: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), activation(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), activation(),
            nn.Flatten(), nn.Linear(2 * width * 16, hidden), activation(), nn.Linear(hidden, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _own(make: Callable[[], nn.Module]) -> nn.Module:
    """A network of ours from a fixed seed; the global random state is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


QUICK = TrainSettings(epochs=12, learning_rate=0.05, schedule="cosine", batch_size=32)
LONG = TrainSettings(epochs=80, learning_rate=0.1, schedule="cosine")
HARDENED = TrainSettings(epochs=30, learning_rate=0.02, schedule="cosine")
ADAM = TrainSettings(epochs=25, learning_rate=2e-3, schedule="cosine", optimizer="adamw")
SLOWER = TrainSettings(epochs=20, learning_rate=1e-3, schedule="cosine", optimizer="adamw")

# name → (the network before training, what it minimizes, how)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, dict, TrainSettings]] = {
    "lenet": (lambda: escrime.build("lenet", 10, seed=0), "clean", {}, QUICK),
    "wide": (lambda: escrime.build("wide_resnet_small", 10, seed=0), "clean", {}, QUICK),
    "placed": (lambda: ResizedAndPadded(escrime.build("wide_resnet_small", 10, seed=0), 10, 11, each=True), "clean", {}, QUICK),
    "conv": (lambda: _own(ConvNet), "clean", {}, ADAM),
    "thermometer": (lambda: _own(lambda: Thermometer(ConvNet(24), 8)), "clean", {}, ADAM),
    "median": (lambda: _own(lambda: MedianFiltered(ConvNet())), "clean", {}, ADAM),
    "large": (lambda: _own(lambda: ConvNet(width=64, hidden=512)), "clean", {}, SLOWER),
    "winners": (lambda: _own(lambda: ConvNet(3, lambda: Winners(0.05), 64, 512)), "clean", {}, SLOWER),
    "fgsm": (lambda: escrime.build("lenet", 10, seed=0), "fgsm-mixed", {"eps": 0.3}, LONG),
    "pgd": (lambda: escrime.build("lenet", 10, seed=0), "pgd", {"eps": 0.15, "steps": 5}, HARDENED),
    "trades": (lambda: escrime.build("lenet", 10, seed=0), "trades", {"eps": 0.15, "steps": 5}, HARDENED),
    "n-fgsm": (lambda: escrime.build("wide_resnet_small", 10, seed=0), "n-fgsm", {"eps": 0.15}, QUICK),
    "linear": (lambda: _own(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 10))), "clean", {}, ADAM),
}


def trained(name: str, cache: Path | None = None, recipes: dict = NETWORKS) -> nn.Module:
    """The network `name` of `recipes`, trained; read from `cache` where it has been before, with the same recipe.

    On one thread, whatever the caller uses: the weights depend on the number of threads in their last bits, and so in all.
    """
    with nullcontext() if cache is None else one_at_a_time(Path(cache) / f"{name}.lock"):
        return _trained(name, cache, recipes)


@contextmanager
def one_at_a_time(path: Path):
    """So that of two pytest workers one trains and the other reads what came of it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _trained(name: str, cache: Path | None, recipes: dict) -> nn.Module:
    make, goal, settings, how = recipes[name]
    network = make().eval()
    file = None if cache is None else Path(cache) / f"{name}-{key(goal, settings, how.as_dict()):016x}.safetensors"
    if file is not None and file.exists():
        return load_weights(network, file)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit(network, load("digits").train, objective(goal, **settings), settings=how, seed=0)
    finally:
        torch.set_num_threads(threads)
    network.eval()
    if file is not None:
        save_weights(network, file)
    return network


def _with_activation(plain: nn.Module, activation: Callable[[], nn.Module]) -> nn.Module:
    """The trained ConvNet `plain` with other activations after training."""
    network = ConvNet(activation=activation).eval()
    network.load_state_dict(plain.state_dict())
    return network


# ---- What tests ask for ----


@dataclass(frozen=True)
class Broken:
    """A false defense. kind: it "hides" its gradients, "smooths" by noise, or is "overfitted" to one step. undefended:
    the same network without the defense, or its plan trained plainly. eps: where the undefended network is nearly lost,
    while a naive attack makes the defense look good."""

    name: str
    source: str
    kind: str
    model: nn.Module
    undefended: nn.Module
    eps: float


def broken(cache: Path | None = None) -> list[Broken]:
    """All false defenses, in evaluation mode. Networks are trained on the way, or read from the folder `cache`."""
    lenet, wide, conv, large, fgsm = (trained(name, cache) for name in ("lenet", "wide", "conv", "large", "fgsm"))
    median, thermometer, winners, placed = (trained(name, cache) for name in ("median", "thermometer", "winners", "placed"))
    ppa = escrime.PredictionAveraging(lenet, eps_max=0.3, samples=8)
    pruned, noisy = (_with_activation(conv, make) for make in (lambda: Pruned(0.4), lambda: NoisyFeatures(0.5)))
    xie = "Xie et al., 2018"
    zoo = [
        Broken("input quantization", "Guo et al., 2018; Xu et al., 2018", "hides", Quantized(lenet, 17), lenet, 0.12),
        Broken("JPEG compression", "Guo et al., 2018; Das et al., 2017", "hides", Jpeg(lenet), lenet, 0.12),
        Broken("median filter", "Xu et al., 2018", "hides", median, conv, 0.14),
        Broken("thermometer encoding", "Buckman et al., 2018", "hides", thermometer, conv, 0.14),
        Broken("k-winners-take-all", "Xiao et al., 2020", "hides", winners, large, 0.16),
        Broken("saturated logits", "Papernot et al., 2016", "hides", Saturated(lenet, 100.0), lenet, 0.12),
        Broken("detached input", "Athalye et al., 2018", "hides", Detached(lenet), lenet, 0.12),
        Broken("no_grad", "Athalye et al., 2018", "hides", WithoutGrad(wide), wide, 0.1),
        Broken("lying backward", "Athalye et al., 2018", "hides", LyingBackward(wide), wide, 0.1),
        Broken("prediction averaging", "Donoghue et al., 2020", "smooths", ppa, lenet, 0.12),
        Broken("resize-and-pad", xie, "smooths", ResizedAndPadded(placed.network, 10, 11, each=False), wide, 0.1),
        Broken("resize-and-pad per image", xie, "smooths", placed, wide, 0.1),
        Broken("input noise", "Liu et al., 2018", "smooths", Noisy(lenet, 0.15), lenet, 0.12),
        Broken("feature noise", "He et al., 2019", "smooths", noisy, conv, 0.14),
        Broken("activation pruning", "Dhillon et al., 2018", "smooths", pruned, conv, 0.14),
        Broken("overfitted FGSM training", "Wong et al., 2020; Kim et al., 2021", "overfitted", fgsm, lenet, 0.2),
    ]
    for case in zoo:
        case.model.eval()
    return zoo


def honest(cache: Path | None = None) -> dict[str, tuple[nn.Module, float]]:
    """name → (model, the ε to judge it at): nothing in them hides or randomizes a gradient."""
    clean = {name: (trained(name, cache), 0.1) for name in ("lenet", "wide", "conv")}
    robust = {name: (trained(name, cache), 0.15) for name in ("pgd", "trades", "n-fgsm")}
    return clean | robust | {"linear": (trained("linear", cache), 0.05)}
