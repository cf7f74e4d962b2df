"""The small networks: the paper's LeNet-like net, and a wide residual network that trains in seconds on two cores.

Both take any input from 8×8 up to 64×64 and beyond: LeNet pools to a fixed grid, the residual network globally.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet(nn.Module):
    """LeNet-5's plan in color: two 5×5 convolutions, each pooled, then three linear layers.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998); the paper's "smaller
    convolutional networks" (its repository's LeNet-like CIFAR net). ReLU and max pooling replace tanh and averaging,
    and the second pooling goes to a 4×4 grid, whatever the input size.
    """

    def __init__(self, num_classes: int = 10, widths: tuple[int, int] = (16, 32)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 5, padding=2)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 5, padding=2)
        self.pool2 = nn.AdaptiveMaxPool2d(4)
        self.fc1 = nn.Linear(widths[1] * 4 * 4, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc = nn.Linear(84, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (N, 3, H, W) → logits (N, num_classes)."""
        x = self.pool1(F.relu(self.conv1(images)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc(F.relu(self.fc2(x)))


class PreActivationBlock(nn.Module):
    """BatchNorm → ReLU → 3×3 convolution, twice, beside a shortcut (He et al., "Identity mappings", 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        residual = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class WideResNetSmall(nn.Module):
    """A wide residual network with one block in each of three stages, 0.3 million parameters.

    Source: Zagoruyko and Komodakis, "Wide residual networks" (2016): their plan (16 channels, then three wide stages,
    the last two at stride 2) at depth 10 and width 2.
    """

    def __init__(self, num_classes: int = 10, widths: tuple[int, int, int] = (32, 64, 128), blocks: int = 1):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        stages, inputs = [], 16
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stages.append(PreActivationBlock(inputs, outputs, stride=2 if stage and not block else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (N, 3, H, W) → logits (N, num_classes)."""
        x = F.relu(self.bn(self.stages(self.stem(images))))
        return self.fc(x.mean(dim=(2, 3)))


def initialize(network: nn.Module) -> None:
    """Kaiming's normal initialization before a ReLU, 1/√n for the head `fc`, no bias.

    PyTorch's own default leaves LeNet on a plateau for the first five of ten short epochs on 8×8 digits.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if name == "fc" else "relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
