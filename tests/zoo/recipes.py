"""Networks that the zoo trains by itself."""

from collections.abc import Callable

import torch
from torch import nn

import escrime
from escrime.training import TrainSettings

from .architectures import Attentive, Bits, ConvNet, Equilibrium, Normed, Polynomial, Pooled, Prototypes, Sawtooth
from .published import MedianFiltered, ResizedAndPadded, Thermometer, Winners

QUICK = TrainSettings(epochs=12, learning_rate=0.05, schedule="cosine", batch_size=32)
LONG = TrainSettings(epochs=80, learning_rate=0.1, schedule="cosine")
HARDENED = TrainSettings(epochs=30, learning_rate=0.02, schedule="cosine")
ADAM = TrainSettings(epochs=25, learning_rate=2e-3, schedule="cosine", optimizer="adamw")
SLOWER = TrainSettings(epochs=20, learning_rate=1e-3, schedule="cosine", optimizer="adamw")


def own(make: Callable[[], nn.Module]) -> nn.Module:
    """A network of ours from a fixed seed; the global random state is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def hardened(make, goal="pgd", **more):
    return (lambda: own(make), goal, {"eps": 0.15, "steps": 5, **more}, HARDENED)


def plain(make, how=ADAM):
    return (lambda: own(make), "clean", {}, how)


# name → (the network before training, what it minimizes, its settings, how)
RECIPES: dict[str, tuple[Callable[[], nn.Module], str, dict, TrainSettings]] = {
    "lenet": (lambda: escrime.build("lenet", 10, seed=0), "clean", {}, QUICK),
    "wide": (lambda: escrime.build("wide_resnet_small", 10, seed=0), "clean", {}, QUICK),
    "placed": (lambda: ResizedAndPadded(escrime.build("wide_resnet_small", 10, seed=0), 10, 11, each=True), "clean", {}, QUICK),
    "conv": (lambda: own(ConvNet), "clean", {}, ADAM),
    "thermometer": (lambda: own(lambda: Thermometer(ConvNet(24), 8)), "clean", {}, ADAM),
    "median": (lambda: own(lambda: MedianFiltered(ConvNet())), "clean", {}, ADAM),
    "large": (lambda: own(lambda: ConvNet(width=64, hidden=512)), "clean", {}, SLOWER),
    "winners": (lambda: own(lambda: ConvNet(3, lambda: Winners(0.05), 64, 512)), "clean", {}, SLOWER),
    "fgsm": (lambda: escrime.build("lenet", 10, seed=0), "fgsm-mixed", {"eps": 0.3}, LONG),
    "pgd": (lambda: escrime.build("lenet", 10, seed=0), "pgd", {"eps": 0.15, "steps": 5}, HARDENED),
    "trades": (lambda: escrime.build("lenet", 10, seed=0), "trades", {"eps": 0.15, "steps": 5}, HARDENED),
    "n-fgsm": (lambda: escrime.build("wide_resnet_small", 10, seed=0), "n-fgsm", {"eps": 0.15}, QUICK),
    "linear": (lambda: own(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 10))), "clean", {}, ADAM),
    "tanh": plain(lambda: ConvNet(activation=nn.Tanh)),
    "gelu": plain(lambda: ConvNet(activation=nn.GELU)),
    "softplus": plain(lambda: ConvNet(activation=nn.Softplus)),
    "hardswish": plain(lambda: ConvNet(activation=nn.Hardswish)),
    "second": plain(lambda: ConvNet(width=24, hidden=96)),
    "third": plain(lambda: ConvNet(width=20, hidden=80)),
    "pooled": plain(Pooled),
    "normed": plain(Normed),
    "attentive": plain(Attentive),
    "prototypes": plain(Prototypes),
    "polynomial": plain(Polynomial),
    "sawtooth": plain(lambda: ConvNet(activation=Sawtooth)),
    "equilibrium": plain(Equilibrium),
    "bits": plain(Bits),
    "hardened tanh": hardened(lambda: ConvNet(activation=nn.Tanh)),
    "hardened normed": hardened(lambda: Normed(nn.SiLU)),
    "hardened softplus": hardened(lambda: ConvNet(activation=nn.Softplus), "trades"),
    "fgsm wide step": (lambda: escrime.build("lenet", 10, seed=1), "fgsm-mixed", {"eps": 0.4}, QUICK),
}
