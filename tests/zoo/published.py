"""Published defenses that are known to be false, re-created on scikit-learn's digits.

Each is as naive as its authors' code: nothing here helps an attack. Most of them fell in Athalye, Carlini and Wagner (2018),
Obfuscated gradients give a false sense of security.
"""

from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor, nn

import escrime
from escrime.randomness import generator

from .architectures import ConvNet
from .member import Built, Member


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


class Straight(nn.Module):
    """What an attacker does who knows `change`: its result is differentiated as if it were the picture itself."""

    def __init__(self, change, network):
        super().__init__()
        self.change, self.network = change, network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + (self.change(images) - images).detach())


class SoftThermometer(nn.Module):
    """Thermometer with a slope around each threshold. Athalye et al. (2018)."""

    def __init__(self, hard: Thermometer, width: float = 0.06):
        super().__init__()
        self.hard, self.width = hard, width

    def forward(self, images: Tensor) -> Tensor:
        far = images[:, :, None] - self.hard.thresholds
        codes = (far > 0).float() + (torch.sigmoid(far / self.width) - torch.sigmoid(far / self.width).detach())
        return self.hard.network(codes.flatten(1, 2))


def with_activation(plain: nn.Module, activation) -> nn.Module:
    """The trained ConvNet `plain` with other activations after training."""
    network = ConvNet(activation=activation).eval()
    network.load_state_dict(plain.state_dict())
    return network


def _false(name, source, eps, make, **more):
    """make(kit) → the arguments of Built."""
    return Member(name, "published", source, eps, lambda kit: Built(*make(kit)), **more)


def _median(kit):
    model = kit("median")
    return model, kit("conv"), (Straight(MedianFiltered(nn.Identity()), model.network), kit("conv"))


def _quantized(kit):
    lenet = kit("lenet")
    return Quantized(lenet, 17), lenet, (lenet, Straight(Quantized(nn.Identity(), 17), lenet))


def _jpeg(kit):
    lenet = kit("lenet")
    return Jpeg(lenet), lenet, (lenet, Straight(Jpeg(nn.Identity()), lenet))


XIE, ATHALYE = "Xie et al., 2018", "Athalye et al., 2018"
SMOOTHS = {"randomized": True, "naive_fails": False}
MEMBERS = [
    _false("input quantization", "Guo et al., 2018; Xu et al., 2018", 0.12, _quantized),
    _false("JPEG compression", "Guo et al., 2018; Das et al., 2017", 0.12, _jpeg),
    _false("median filter", "Xu et al., 2018", 0.14, _median),
    _false(
        "thermometer encoding", "Buckman et al., 2018", 0.14,
        lambda kit: (kit("thermometer"), kit("conv"), (SoftThermometer(kit("thermometer")),)),
    ),
    _false("k-winners-take-all", "Xiao et al., 2020", 0.16, lambda kit: (kit("winners"), kit("large")), on_model=True),
    _false("saturated logits", "Papernot et al., 2016", 0.12, lambda kit: (Saturated(kit("lenet"), 100.0), kit("lenet"))),
    _false("detached input", ATHALYE, 0.12, lambda kit: (Detached(kit("lenet")), kit("lenet"))),
    _false("no_grad", ATHALYE, 0.1, lambda kit: (WithoutGrad(kit("wide")), kit("wide"))),
    _false("lying backward", ATHALYE, 0.1, lambda kit: (LyingBackward(kit("wide")), kit("wide"))),
    _false(
        "prediction averaging", "Donoghue et al., 2020", 0.12,
        lambda kit: (escrime.PredictionAveraging(kit("lenet"), eps_max=0.3, samples=8), kit("lenet")), **SMOOTHS,
    ),
    _false(
        "resize-and-pad", XIE, 0.1,
        lambda kit: (ResizedAndPadded(kit("placed").network, 10, 11, each=False), kit("wide")), **SMOOTHS,
    ),
    _false("resize-and-pad per image", XIE, 0.1, lambda kit: (kit("placed"), kit("wide")), **SMOOTHS),
    _false("input noise", "Liu et al., 2018", 0.12, lambda kit: (Noisy(kit("lenet"), 0.15), kit("lenet")), **SMOOTHS),
    _false(
        "feature noise", "He et al., 2019", 0.14,
        lambda kit: (with_activation(kit("conv"), lambda: NoisyFeatures(0.5)), kit("conv")), **SMOOTHS,
    ),
    _false(
        "activation pruning", "Dhillon et al., 2018", 0.14,
        lambda kit: (with_activation(kit("conv"), lambda: Pruned(0.4)), kit("conv")), **SMOOTHS,
    ),
    _false(
        "overfitted FGSM training", "Wong et al., 2020; Kim et al., 2021", 0.2,
        lambda kit: (kit("fgsm"), kit("lenet"), (kit("fgsm"),)), naive_fails=False,
    ),
]  # fmt: skip
