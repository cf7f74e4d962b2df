"""What an attack costs beyond the network: its passes against bare ones, and where the time of a run goes."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

import escrime
from escrime.models import prepare
from escrime.models.fast.twin import Twin
from escrime.models.running import network_batch

from .models import Setting, Subject
from .passes import Timed
from .timing import race, seconds

GOAL = 1.10
STEPS = 10


@dataclass(frozen=True)
class Overhead:
    """ratio: time per forward-and-backward pass inside PGD over that of a bare prepared model. shares: of the time of a
    whole PGD-40 run on the model as it is."""

    setting: str
    images: int
    ratio: float
    ratios: tuple[float, ...]
    shares: dict[str, float]
    goal: float = GOAL


def overhead(setting: Setting, subject: Subject, rounds: int) -> Overhead:
    """Measure both on one network batch of the subject's images."""
    batch = min(len(subject.images), network_batch(subject.images))
    images, labels, device = subject.images[:batch], subject.labels[:batch], subject.images.device
    twin, attack = Twin(subject.model), escrime.PGD(setting.eps, steps=STEPS, early_stop=False)

    def run():
        return attack.sweep(twin, images, labels, [setting.eps])[0]

    passes = int(run().backwards.max())  # also lets the twin measure its gap
    copy = prepare(subject.model)

    def bare():
        for _ in range(passes):
            x = images.clone().requires_grad_(True)
            torch.autograd.grad(cross_entropy(copy(x), labels, reduction="sum"), x)

    bare()
    times = race(run, bare, rounds, device)
    return Overhead(setting.title, batch, times.ratio, tuple(times.ratios), _shares(setting, subject, images, labels))


def _shares(setting: Setting, subject: Subject, images, labels) -> dict[str, float]:
    device = images.device
    preparation = seconds(lambda: prepare(subject.model), device)
    original, copy = Timed(subject.model, device), Timed(prepare(subject.model), device)
    attack = escrime.PGD(setting.eps, steps=40)
    whole = seconds(lambda: attack.sweep(Twin(original, copy), images, labels, [setting.eps]), device)
    total = preparation + whole
    return {
        "preparing the copy": preparation / total,
        "network, the copy": copy.seconds / total,
        "network, the original": original.seconds / total,
        "outside the network": (whole - copy.seconds - original.seconds) / total,
    }
