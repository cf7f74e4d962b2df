"""escrime.fit against a plain PyTorch loop, as ratios of images per second: clean and FGSM-adversarial training.

    python -m benchmarks.training --rounds 3 --out training.md
    python -m benchmarks.training --networks googlenet:128:2
    python -m benchmarks.training --networks googlenet:128:16 --precision bfloat16    # for CPUs with AMX, and GPUs

The plain loop is what one writes first: a DataLoader of float32 images in NCHW, an optimizer step per batch, and for FGSM a
`loss.backward()` to get the gradient of the images. Both sides take turns, on generated images; only ratios are reported.
"fed" is the speed of clean training with crops and flips against the bare model, which takes the same steps, in the same
memory format, on one batch that is there already: what reading, drawing and augmenting cost.
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
from escrime.models import logits_and_auxiliary
from escrime.training import TrainSettings, fit, objective
from escrime.training.context import AUXILIARY_WEIGHT

from .timing import race

NETWORKS = (  # name : pixels : batches of a round
    "googlenet:128:16",  # many: each round is a whole training, whose beginning takes as long as half a step
    "googlenet:224:4",
    "resnet18:64:8",
    "mobilenet_v2:128:4",
    "wide_resnet_small:32:16",
    "lenet:32:128",
)
GOALS = {("googlenet", "clean"): 1.4, ("googlenet", "fgsm-mixed"): 1.5}
EPS, RATE, MOMENTUM = 4 / 255, 0.01, 0.9
COST = 1.9  # FGSM-adversarial training over clean, at most
FED = 0.95  # of the bare model's step rate, at least


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--networks", default=",".join(NETWORKS), help="of name:pixels:batches, separated by commas")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options.add_argument("--precision", default="float32", help="of ours; the plain loop is in float32")
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    lines = [
        "| network | clean | goal | FGSM-adversarial | goal | ours over clean: paper's, N-FGSM | fed |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in options.networks.split(","):
        arch, pixels, batches = spec.split(":")
        data = noise(int(pixels), int(batches) * options.batch_size)
        races = {name: contest(arch, data, name, options) for name in ("clean", "fgsm-mixed")}
        cells = [f"{arch}, {pixels} px"]
        for name, result in races.items():
            goal = GOALS.get((arch, name), 1.0)
            span = f"{min(result.ratios):.2f}–{max(result.ratios):.2f}"
            cells += [f"**{result.ratio:.2f}×** ({span}) {'✓' if result.ratio >= goal else '✗'}", f"≥ {goal:g}×"]
        clean = median(races["clean"].ours)
        costs = median(races["fgsm-mixed"].ours) / clean, 1 / costing(arch, data, "n-fgsm", options).ratio
        cells.append(f"{costs[0]:.2f}×, {costs[1]:.2f}×, goal ≤ {COST}×")
        share = fed(arch, data, options).ratio
        cells.append(f"{share:.0%}, goal ≥ {FED:.0%}")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    where = (
        f"{options.device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}, batches of {options.batch_size}"
    )
    ours = "escrime.fit" if options.precision == "float32" else f"escrime.fit in {options.precision}"
    text = f"Images per second of {ours} over a plain PyTorch loop ({where}):\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, "utf-8")


def noise(pixels: int, count: int) -> ImageSet:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 3, pixels, pixels), dtype=np.uint8)
    return ImageSet("noise", images, np.arange(count) % 10, tuple(map(str, range(count))), tuple("0123456789"))


def contest(arch: str, data: ImageSet, name: str, options):
    """Race one epoch of both loops, each on its own copy of the network; the first epoch of each warms up."""
    theirs, fitted = escrime.build(arch, 10, seed=0).to(options.device), epoch_of(arch, data, name, options)

    def plain():
        plain_epoch(theirs, data, name, options)

    plain(), fitted()
    return race(plain, fitted, options.rounds, options.device)


def costing(arch: str, data: ImageSet, name: str, options):
    """Race an epoch of clean training against one of the objective `name`, both by `fit`."""
    clean, other = (epoch_of(arch, data, goal, options) for goal in ("clean", name))
    clean(), other()
    return race(clean, other, options.rounds, options.device)


def epoch_of(arch: str, data: ImageSet, name: str, options, **settings):
    """A call that trains a network of its own for one epoch."""
    model = escrime.build(arch, 10, seed=0).to(options.device)
    goal = objective(name) if name == "clean" else objective(name, eps=EPS)
    settings |= dict(batch_size=options.batch_size, precision=options.precision)
    chosen = TrainSettings(epochs=1, learning_rate=RATE, momentum=MOMENTUM, **settings)
    return lambda: fit(model, data, goal, settings=chosen, device=options.device)


def fed(arch: str, data: ImageSet, options):
    """Race steps of the bare model on one resident batch, the same number of them, against an epoch of `fit`."""
    bare, fitted = (
        escrime.build(arch, 10, seed=0).to(options.device),
        epoch_of(arch, data, "clean", options, augment="flip+crop"),
    )
    bare.train().to(memory_format=torch.channels_last)
    images, labels = data.batch(list(range(options.batch_size)), device=options.device)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(bare.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)

    def steps():
        for _ in range(len(data) // options.batch_size):
            optimizer.zero_grad()
            loss(bare, images, labels).backward()
            optimizer.step()

    steps(), fitted()
    return race(steps, fitted, options.rounds, options.device)


def plain_epoch(model, data: ImageSet, name: str, options) -> None:
    model.train()
    images = torch.from_numpy(data.images).float().div_(255)
    loader = DataLoader(TensorDataset(images, torch.from_numpy(data.labels)), options.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    for x, y in loader:
        x, y = x.to(options.device), y.to(options.device)
        if name != "clean":
            x.requires_grad_(True)
            loss(model, x, y).backward()
            adversarial = (x + EPS * x.grad.sign()).clamp(0, 1).detach()
            x, y = torch.cat([x.detach(), adversarial]), torch.cat([y, y])
        optimizer.zero_grad()
        loss(model, x, y).backward()
        optimizer.step()


def loss(model, images, labels):
    """What both sides minimize: GoogLeNet has auxiliary heads."""
    output, auxiliary = logits_and_auxiliary(model, images)
    return sum((AUXILIARY_WEIGHT * cross_entropy(head, labels) for head in auxiliary), cross_entropy(output, labels))


if __name__ == "__main__":
    main()
