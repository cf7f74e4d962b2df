"""GoogLeNet as it was published, without BatchNorm: the network of Caffe's `bvlc_googlenet`.

Source: Szegedy et al., "Going deeper with convolutions" (2015), table 1; layer names are those of BVLC's model, with a dot
for its slash. torchvision's `googlenet` is another network: BatchNorm, and 3×3 convolutions in place of 5×5.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

# Table 1: output channels of 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5 and pool proj in each Inception block.
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# BVLC trained on BGR images from 0 to 255 less (104, 117, 123); the same for RGB in [0, 1], as mean and std.
MEAN, STD = (123 / 255, 117 / 255, 104 / 255), (1 / 255, 1 / 255, 1 / 255)
SIZE, ALPHA, BETA, K = 5, 1e-4, 0.75, 1.0  # of the local response normalization


class GoogLeNet(nn.Module):
    """Table 1, top to bottom. Normalized RGB images (N, 3, H, W), 15 px or larger → logits (N, num_classes).

    auxiliary: with the two auxiliary classifiers, which only run in training; it then returns (logits, those of the second,
    those of the first), in torchvision's order.
    """

    inception_3a: "Inception"
    inception_3b: "Inception"
    inception_4a: "Inception"
    inception_4b: "Inception"
    inception_4c: "Inception"
    inception_4d: "Inception"
    inception_4e: "Inception"
    inception_5a: "Inception"
    inception_5b: "Inception"

    def __init__(self, num_classes: int = 1000, auxiliary: bool = False):
        super().__init__()
        self.conv1 = _layers({"7x7_s2": nn.Conv2d(3, 64, 7, stride=2, padding=3)})
        self.conv2 = _layers({"3x3_reduce": nn.Conv2d(64, 64, 1), "3x3": nn.Conv2d(64, 192, 3, padding=1)})
        channels, inputs = 192, {}
        for name, (ones, _, threes, _, fives, pooled) in INCEPTION.items():
            inputs[name] = channels
            self.add_module(f"inception_{name}", Inception(channels, *INCEPTION[name]))
            channels = ones + threes + fives + pooled
        if auxiliary:
            self.loss1 = Auxiliary(inputs["4b"], num_classes)
            self.loss2 = Auxiliary(inputs["4e"], num_classes)
        self.loss3 = _layers({"classifier": nn.Linear(channels, num_classes)})
        self.auxiliary = auxiliary
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = images.flip(1)  # the filters are those of BGR
        x = local_response_norm(_pool(F.relu(self.conv1["7x7_s2"](x))))
        x = F.relu(self.conv2["3x3"](F.relu(self.conv2["3x3_reduce"](x))))
        x = _pool(local_response_norm(x))
        x = _pool(self.inception_3b(self.inception_3a(x)))
        first = x = self.inception_4a(x)
        second = x = self.inception_4d(self.inception_4c(self.inception_4b(x)))
        x = _pool(self.inception_4e(x))
        x = self.inception_5b(self.inception_5a(x)).mean((2, 3))
        logits = self.loss3["classifier"](F.dropout(x, 0.4, self.training))
        if self.auxiliary and self.training:
            return logits, self.loss2(second), self.loss1(first)
        return logits


class Inception(nn.Module):
    """1×1, 3×3 and 5×5 convolutions and a 3×3 pool side by side; 1×1 convolutions before and after reduce the channels."""

    def __init__(self, inputs: int, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pooled: int):
        super().__init__()
        self.add_module("1x1", nn.Conv2d(inputs, ones, 1))
        self.add_module("3x3_reduce", nn.Conv2d(inputs, reduce3, 1))
        self.add_module("3x3", nn.Conv2d(reduce3, threes, 3, padding=1))
        self.add_module("5x5_reduce", nn.Conv2d(inputs, reduce5, 1))
        self.add_module("5x5", nn.Conv2d(reduce5, fives, 5, padding=2))
        self.pool_proj = nn.Conv2d(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.get_submodule
        threes = layer("3x3")(F.relu(layer("3x3_reduce")(x)))
        fives = layer("5x5")(F.relu(layer("5x5_reduce")(x)))
        pooled = self.pool_proj(F.max_pool2d(x, 3, stride=1, padding=1))
        return F.relu(torch.cat((layer("1x1")(x), threes, fives, pooled), 1))


class Auxiliary(nn.Module):
    """A classifier half-way, whose loss counts 0.3 in training (section 5).

    Its 5×5 pool of stride 3 leaves 4×4 of the 14×14 that images of 224 px have here; pooling to 4×4 takes any size.
    """

    def __init__(self, inputs: int, num_classes: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 128, 1)
        self.fc = nn.Linear(128 * 4 * 4, 1024)
        self.classifier = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(F.adaptive_avg_pool2d(x, 4)))
        x = F.relu(self.fc(x.flatten(1)))
        return self.classifier(F.dropout(x, 0.7, self.training))


@fx.wrap  # one step for what traces the network: its channels are windows of the tensor
def local_response_norm(x: Tensor) -> Tensor:
    """x / (k + α/n Σ x²)^β, the sum over the n channels around each one: F.local_response_norm with Caffe's numbers, in a
    sixth of its time on a CPU."""
    return _LocalResponseNorm.apply(x)


class _LocalResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        base, scale = _response(x)
        ctx.save_for_backward(x, base, scale)
        return x * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, base, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is asked for, which goes through these too
            base, scale = _response(x)
        return grad * scale - 2 * ALPHA * BETA / SIZE * x * _window_sum(grad * x * scale / base)


def _response(x: Tensor) -> tuple[Tensor, Tensor]:
    """(k + α/n Σ x², its power −β); two roots cost less than a power."""
    base = _window_sum(x * x) * (ALPHA / SIZE) + K
    root = base.rsqrt()
    return base, root * root.sqrt()


def _window_sum(x: Tensor) -> Tensor:
    """The sum over the five channels around each one."""
    channels, x = x.shape[1], F.pad(x, (0, 0, 0, 0, SIZE // 2, SIZE // 2))
    pairs = x[:, : channels + 3] + x[:, 1 : channels + 4]
    return pairs[:, :channels] + pairs[:, 2 : channels + 2] + x[:, 4 : channels + 4]


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


def _layers(layers: dict[str, nn.Module]) -> nn.ModuleDict:
    """Layers by names that Python's attributes cannot have."""
    return nn.ModuleDict(layers)


def _initialize(network: nn.Module) -> None:
    """As BVLC's model asks: Caffe's Xavier (uniform, variance 1 / inputs), biases 0.2 but for classifiers."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 0.0 if name.endswith("classifier") else 0.2)
