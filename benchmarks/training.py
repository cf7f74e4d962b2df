"""escrime.fit against a plain PyTorch loop, as ratios of images per second: clean and FGSM-adversarial training.

    python -m benchmarks.training --rounds 3 --out training.md
    python -m benchmarks.training --networks googlenet:128 --batches 2

The plain loop is what one writes first: a DataLoader of float32 images in NCHW, an optimizer step per batch, and for FGSM a
`loss.backward()` to get the gradient of the images. Both sides take turns, on generated images; only ratios are reported.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import escrime
from escrime.data import ImageSet
from escrime.training import TrainSettings, fit, objective

from .timing import race

NETWORKS = ("googlenet:128", "googlenet:224", "resnet18:64", "mobilenet_v2:128", "wide_resnet_small:32", "lenet:32")
GOALS = {("googlenet", "clean"): 1.4, ("googlenet", "fgsm-mixed"): 1.5}
EPS, RATE, MOMENTUM = 4 / 255, 0.01, 0.9
COST = 1.9  # FGSM-adversarial training over clean, at most


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--networks", default=",".join(NETWORKS), help="of name:pixels, separated by commas")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--batches", type=int, default=4, help="of each round")
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    lines = ["| network | clean | goal | FGSM-adversarial | goal | ours, FGSM over clean |", "|---|---|---|---|---|---|"]
    for spec in options.networks.split(","):
        arch, pixels = spec.split(":")
        data = noise(int(pixels), options.batches * options.batch_size)
        races = {name: contest(arch, data, name, options) for name in ("clean", "fgsm-mixed")}
        cells = [f"{arch}, {pixels} px"]
        for name, result in races.items():
            goal = GOALS.get((arch, name), 1.0)
            span = f"{min(result.ratios):.2f}–{max(result.ratios):.2f}"
            cells += [f"**{result.ratio:.2f}×** ({span}) {'✓' if result.ratio >= goal else '✗'}", f"≥ {goal:g}×"]
        cost = median(races["fgsm-mixed"].ours) / median(races["clean"].ours)
        lines.append("| " + " | ".join([*cells, f"{cost:.2f}×, goal ≤ {COST}×"]) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    where = (
        f"{options.device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}, batches of {options.batch_size}"
    )
    text = f"Images per second of escrime.fit over a plain PyTorch loop ({where}):\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, "utf-8")


def noise(pixels: int, count: int) -> ImageSet:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 3, pixels, pixels), dtype=np.uint8)
    return ImageSet("noise", images, np.arange(count) % 10, tuple(map(str, range(count))), tuple("0123456789"))


def contest(arch: str, data: ImageSet, name: str, options):
    """Race one epoch of both loops, each on its own copy of the network; the first epoch of each warms up."""
    theirs, ours = (escrime.build(arch, 10, seed=0).to(options.device) for _ in range(2))
    goal = objective(name) if name == "clean" else objective(name, eps=EPS)
    settings = TrainSettings(epochs=1, learning_rate=RATE, momentum=MOMENTUM, batch_size=options.batch_size)

    def fitted():
        fit(ours, data, goal, settings=settings, device=options.device)

    def plain():
        plain_epoch(theirs, data, name, options)

    plain(), fitted()
    return race(plain, fitted, options.rounds, options.device)


def plain_epoch(model, data: ImageSet, name: str, options) -> None:
    model.train()
    images = torch.from_numpy(data.images).float().div_(255)
    loader = DataLoader(TensorDataset(images, torch.from_numpy(data.labels)), options.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    for x, y in loader:
        x, y = x.to(options.device), y.to(options.device)
        if name != "clean":
            x.requires_grad_(True)
            cross_entropy(logits(model(x)), y).backward()
            adversarial = (x + EPS * x.grad.sign()).clamp(0, 1).detach()
            x, y = torch.cat([x.detach(), adversarial]), torch.cat([y, y])
        optimizer.zero_grad()
        cross_entropy(logits(model(x)), y).backward()
        optimizer.step()


def logits(output):
    """GoogLeNet in training mode answers with its auxiliary heads too; the plain loop uses the main one."""
    return output if isinstance(output, torch.Tensor) else output[0]


if __name__ == "__main__":
    main()
