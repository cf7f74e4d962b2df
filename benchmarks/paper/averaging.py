"""Whether prediction averaging (PPA) does what the paper says of it (C6, C7), and which of its unnamed settings decides that.

    python -m benchmarks.paper.averaging --model googlenet_bvlc@FILE --images leak-free --size 224 --out averaging.json

The paper names neither N, nor DGSM's step count, and ε_max twice (0.3 and 0.03); it shows examples that were made on the
undefended network (transfer), on 50 images. *C6*: FGSM's examples at small ε are shown to PPA with every (ε_max, N), and to
the mean of the probabilities beside the paper's formula. *C7*: DGSM with few and many steps is shown to PPA, and DGSM that
knows PPA (adaptive); from the share of images that this moves to the target class comes how likely 50 images were to show at
most one that moved.
"""

from collections.abc import Sequence

import torch
from scipy.stats import binom
from torch import Tensor, nn

import escrime
from escrime.defenses.noisy_copies import NoisyCopies
from escrime.defenses.prediction_averaging import AVERAGES
from escrime.randomness import row_keys

from .measuring import BATCH, interval, keep, network_and_images, options

EPS = (0.025, 0.1)  # of FGSM
RADII = (0.01, 0.03, 0.1, 0.3)  # ε_max
NAMED = (0.03, 0.3)  # the paper's two
COPIES = (2, 4, 8, 16, 32)  # N
STEPS = (1, 2, 5, 10, 20)  # of DGSM
LARGEST = 0.015  # DGSM's largest ε in the paper
TARGET = "n02102040"  # the paper's, the English springer
SHOWN = (4, 16)  # N of C7
PAPER = 50  # images
ADAPTIVE_STEPS = 10
FEW = 4  # images whose copies go through the network at once


class Copies(NoisyCopies):
    """The clean copy and the noisy ones of PPA, their logits unmixed."""

    first_is_clean = True


def main() -> None:
    given = options(__doc__, limit=100).parse_args()
    network, images = network_and_images(given)
    x, y = images.batch(range(len(images)), "cpu")
    target = images.wnids.index(TARGET)
    keep(
        given, "averaging", {"n": len(y), **small_eps(network, x, y, images.ids), **directed(network, x, y, target, images.ids)}
    )


def small_eps(network: nn.Module, x: Tensor, y: Tensor, ids: Sequence[str]) -> dict:
    """C6: the share right of the network and of PPA with every setting, on clean images and on FGSM's of every ε."""
    shown = {0.0: x} | {e: in_batches(escrime.FGSM(e), network, x, y, ids) for e in EPS}
    undefended = {str(e): interval(outputs(network, seen).argmax(1) == y) for e, seen in shown.items()}
    rows = []
    for radius in RADII:
        for eps, seen in shown.items():
            logits = copies(network, seen, ids, radius, max(COPIES))
            for n in COPIES:
                for average in AVERAGES:
                    right = averaged(logits[:n], average).argmax(1) == y
                    rows.append({"eps_max": radius, "samples": n, "average": average, "eps": eps, "right": interval(right)})
    return {"undefended": undefended, "fgsm": rows}


def directed(network: nn.Module, x: Tensor, y: Tensor, target: int, ids: Sequence[str]) -> dict:
    """C7: the share that DGSM at LARGEST moves to the target class, of the images that are neither of it nor in it, by its
    steps, undefended, shown to PPA, and made against PPA."""
    other = y != target
    x, y, ids = x[other], y[other], [name for name, kept in zip(ids, other.tolist(), strict=True) if kept]
    rows, defended = [], {radius: copies(network, x, ids, radius, max(SHOWN)) for radius in NAMED}
    before = {(r, n): averaged(logits[:n], AVERAGES[0]).argmax(1) == target for r, logits in defended.items() for n in SHOWN}
    for steps in STEPS:
        attack = escrime.DGSM(LARGEST, target=target, steps=steps)
        seen = in_batches(attack, network, x, y, ids)
        plain = outputs(network, seen).argmax(1) == target
        rows.append({"steps": steps, "threat": "white-box", **moved(plain, outputs(network, x).argmax(1) == target)})
        for radius in NAMED:
            logits = copies(network, seen, ids, radius, max(SHOWN))
            for n in SHOWN:
                hit = averaged(logits[:n], AVERAGES[0]).argmax(1) == target
                about = {"steps": steps, "threat": "transfer", "eps_max": radius, "samples": n}
                rows.append(about | moved(hit, before[radius, n]))
    for radius in NAMED:
        ppa = escrime.PredictionAveraging(network, radius, SHOWN[0])
        seen = in_batches(escrime.DGSM(LARGEST, target=target, steps=ADAPTIVE_STEPS), ppa, x, y, ids)
        hit = averaged(copies(network, seen, ids, radius, SHOWN[0]), AVERAGES[0]).argmax(1) == target
        about = {"steps": ADAPTIVE_STEPS, "threat": "adaptive", "eps_max": radius, "samples": SHOWN[0]}
        rows.append(about | moved(hit, before[radius, SHOWN[0]]))
    return {"dgsm": rows, "dgsm n": len(y)}


def moved(hit: Tensor, before: Tensor) -> dict:
    """The share called the target now and not before; and how likely as many images as the paper's show at most one such."""
    row = hit & ~before
    share = interval(row)
    return {"moved": share, "at most 1 of 50": float(binom.cdf(1, PAPER, share[0]))}


def averaged(logits: Tensor, average: str) -> Tensor:
    """PPA's output (N, K) from its copies' logits (copies, N, K), as PredictionAveraging makes it."""
    return (logits.log_softmax(-1) if average == "probabilities" else logits).logsumexp(0)


@torch.no_grad()
def copies(network: nn.Module, x: Tensor, ids: Sequence[str], radius: float, samples: int) -> Tensor:
    """The logits of the clean and the noisy copies (samples, N, K), whose noise an image's id decides."""
    model, parts = Copies(network, radius, samples), []
    for at in range(0, len(x), FEW):
        with row_keys([("averaging", name) for name in ids[at : at + FEW]]):
            parts.append(model.copied_logits(x[at : at + FEW]))
    return torch.cat(parts, 1)


@torch.no_grad()
def outputs(network: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([network(x[at : at + BATCH]) for at in range(0, len(x), BATCH)])


def in_batches(attack, model: nn.Module, x: Tensor, y: Tensor, ids: Sequence[str]) -> Tensor:
    """The attack's examples of all images; which batch an image is in decides nothing."""
    parts = range(0, len(x), BATCH)
    return torch.cat([attack(model, x[at : at + BATCH], y[at : at + BATCH], ids=ids[at : at + BATCH]) for at in parts])


if __name__ == "__main__":
    main()
