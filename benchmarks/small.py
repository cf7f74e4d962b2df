"""A small network at 32 px whose passes cost next to nothing, so that what an attack does beside them shows; its training.

    python -m benchmarks.small --folder IMAGENETTE --out DIR

writes DIR/small.safetensors (8 epochs) and DIR/small-robust.safetensors (10 epochs of N-FGSM at 8/255; de Jorge et al., 2022,
Make some noise), in minutes of one core.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from escrime.data import load

SIZE, BATCH, RATE = 32, 128, 0.2
TRAININGS = {"small": (8, 0.0), "small-robust": (10, 8 / 255)}  # epochs, ε


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(inner, outer, 3, 2, 1, bias=False), nn.BatchNorm2d(outer)
        self.second, self.norm2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, 2, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.norm2(self.second(relu(self.norm1(self.first(x))))) + self.shortcut(x))


class Small(nn.Module):
    """A ResNet of 73,000 weights, images (N, 3, 32, 32) in [0, 1] → logits (N, K)."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.block1, self.block2 = Block(16, 32), Block(32, 64)
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.norm(self.stem((x - 0.5) * 4)))
        return self.fc(self.block2(self.block1(x)).mean((2, 3)))


def train(images: Tensor, labels: Tensor, epochs: int, eps: float) -> Small:
    """The network after so many epochs; with ε > 0 each step is taken on N-FGSM's examples."""
    torch.manual_seed(0)
    model = Small().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=epochs * (len(images) // BATCH + 1))
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            x, y = images[rows], labels[rows]
            x = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, x.flip(3), x)
            if eps:
                noise = torch.empty_like(x).uniform_(-2 * eps, 2 * eps).requires_grad_()
                (slope,) = torch.autograd.grad(cross_entropy(model(x + noise), y), noise)
                x = (x + noise + eps * slope.sign()).detach()
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", required=True, metavar="DIR", help="Imagenette, its train/ and val/")
    options.add_argument("--out", required=True, type=Path, metavar="DIR")
    given = options.parse_args()
    torch.set_num_threads(1)
    data = load("imagenette", size=SIZE, folder=given.folder).train
    images, labels = data.batch(list(range(len(data))))
    for name, (epochs, eps) in TRAININGS.items():
        state = train(images, labels, epochs, eps).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, given.out / f"{name}.safetensors")


if __name__ == "__main__":
    main()
