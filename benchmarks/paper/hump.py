"""Why accuracy under FGSM rises again between ε = .025 and .1: three explanations, each measured on the same images.

    python -m benchmarks.paper.hump --model googlenet_bvlc@FILE --images leak-free --size 224 --out hump.json

*Overshoot*: the loss along FGSM's ray goes up and down again, so that a long step lands beyond the region in which the image
is misclassified. Then many images that are right at ε were wrong at a smaller ε' on the same ray, and the accuracy of the worst
ε' ≤ ε falls where FGSM's rises. *Label leaking* (Kurakin, Goodfellow, Bengio 2017): the step is made with the true label, which
the network reads out of the pattern. Then a step made without it (towards the class the network finds least likely) has no
rise, and a step's pattern on a gray image is called by its label. *Saturation*: values stop at black and white. Then the same
step without clipping has no rise.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from escrime.attacks.core.gradients import input_gradient
from escrime.randomness import generator

from .measuring import BATCH, interval, keep, network_and_images, options

GRID = tuple(round(0.025 * step, 3) for step in range(13))  # the paper's


def main() -> None:
    given = options(__doc__, limit=250).parse_args()
    keep(given, "hump", measure(*network_and_images(given)))


def measure(model, images) -> dict:
    """Of an ImageSet: by what the step is made with, the share right at every ε of GRID, with its interval; and what tells the
    three explanations apart."""
    right: dict[str, list[Tensor]] = {}
    clipped, losses, carried = [], [], []
    for start in range(0, len(images), BATCH):
        x, y = images.batch(range(start, min(start + BATCH, len(images))), "cpu")
        with torch.no_grad():
            least = model(x).argmin(1)
        steps = {"true label": slope(model, x, y), "least likely class": -slope(model, x, least)}
        steps["random signs"] = signs(x, images.ids[start : start + BATCH])
        for name, step in steps.items():
            right.setdefault(name, []).append(torch.stack([judged(model, (x + e * step).clamp(0, 1), y)[0] for e in GRID]))
        step = steps["true label"]
        right.setdefault("not clipped", []).append(torch.stack([judged(model, x + e * step, y)[0] for e in GRID]))
        losses.append(torch.stack([judged(model, (x + e * step).clamp(0, 1), y)[1] for e in GRID]))
        clipped.append(torch.stack([((x + e * step - 0.5).abs() > 0.5).float().flatten(1).mean(1) for e in GRID]))
        carried.append(torch.stack([judged(model, (0.5 + e * step).clamp(0, 1), y)[0] for e in GRID]))
    table = {name: torch.cat(parts, 1) for name, parts in right.items()}
    fgsm, loss = table["true label"], torch.cat(losses, 1)
    ever = fgsm.int().cummin(0).values.bool()  # right at every ε' ≤ ε
    table["worst up to ε"] = ever
    back = fgsm & ~ever  # wrong at a smaller ε', right again
    return {
        "n": len(images),
        "eps": GRID,
        "right": {name: [interval(row) for row in rows] for name, rows in table.items()},
        "wrong before, right again": [interval(row) for row in back],
        "pattern alone called by its label": [interval(row) for row in torch.cat(carried, 1)],
        "mean loss": loss.mean(1).tolist(),
        "share of values clipped": torch.cat(clipped, 1).mean(1).tolist(),
        "ε of the largest loss": {str(e): int((loss.argmax(0) == at).sum()) for at, e in enumerate(GRID)},
    }


def slope(model, x: Tensor, labels: Tensor) -> Tensor:
    """FGSM's direction: the sign of the gradient of the cross-entropy (N, C, H, W)."""
    return input_gradient(model, x, lambda logits: F.cross_entropy(logits, labels, reduction="sum")).sign()


def signs(x: Tensor, ids: Sequence[str]) -> Tensor:
    """A sign per value, drawn for the image by its id."""
    return torch.stack([torch.rand(x.shape[1:], generator=generator("hump", name)) - 0.5 for name in ids]).sign()


@torch.no_grad()
def judged(model, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images (N,) are right, and the loss of each (N,)."""
    logits = model(x)
    return logits.argmax(1) == labels, F.cross_entropy(logits, labels, reduction="none")


if __name__ == "__main__":
    main()
