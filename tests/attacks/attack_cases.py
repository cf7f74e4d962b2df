"""The table of attacks that the laws hold for, and models whose optimum is known or whose passes are counted."""

import math

import torch
from torch import nn

from escrime import APGD, DGSM, FGSM, FMN, PGD, AutoAttack, CarliniWagner, DeepFool, Square, WorstCase
from escrime.attacks import (
    Corruption,
    HopSkipJump,
    Patch,
    RandomPatch,
    RandomPoints,
    RayS,
    SigmaZero,
    SparseRS,
    Spatial,
    Transfer,
    UniversalPatch,
    UniversalPGD,
)
from escrime.attacks.core.minimum_norm import MinimumNorm
from escrime.budgets import epsilon
from escrime.norms import NORMS

CW = {"steps": 8, "rounds": 2, "initial_c": 1.0, "step_size": 0.05}
AUTO = {"steps": 4, "queries": 12, "targets_tried": 2}

ATTACKS = [
    FGSM(0.1),
    FGSM(0.5, norm="l2"),
    FGSM(3.0, norm="l1"),
    FGSM(4, norm="l0"),
    FGSM(2, norm="patch"),
    FGSM(0.1, target=3, eot=3),
    DGSM(0.1, target=3),
    DGSM(0.1, target=3, steps=1),
    DGSM(0.1, target=3, steps=6, early_stop=True, eot=2),
    PGD(0.1, steps=4),
    PGD(0.5, steps=4, norm="l2", momentum=0.9, early_stop=False),
    PGD(0.1, steps=3, restarts=2, target=3, loss="margin"),
    PGD(0.1, steps=3, smoothing=2, momentum=1.0),
    PGD(0.1, steps=3, diversity=0.7, momentum=1.0),
    PGD(3.0, steps=4, norm="l1"),
    PGD(4, steps=4, norm="l0", restarts=2),
    PGD(2, steps=4, norm="patch", restarts=2),
    Patch(2, steps=4, restarts=3),
    Patch(2, steps=4, restarts=2, target=3, early_stop=False),
    RandomPatch(2, steps=4, places=2),
    RandomPatch(3, steps=4, angle=0, smallest=1, target=3),
    APGD(0.1, steps=8),
    APGD(0.5, steps=8, norm="l2", loss="dlr", early_stop=False),
    APGD(3.0, steps=30, norm="l1", early_stop=False),
    APGD(2.0, steps=5, norm="l1", loss="dlr", targets_tried=2),
    APGD(0.05, steps=5, loss="dlr", targets_tried=2),
    APGD(0.1, steps=5, target=3),
    FMN(0.1, steps=10),
    FMN(0.5, steps=10, norm="l2", stop_within=True),
    FMN(steps=10, norm="l2", target=3),
    FMN(3.0, steps=10, norm="l1", stop_within=True),
    FMN(4, steps=10, norm="l0"),
    SigmaZero(4, steps=10),
    SigmaZero(4, steps=10, stop_within=True),
    SigmaZero(steps=10, target=3),
    DeepFool(0.5),
    DeepFool(steps=10, norm="linf"),
    DeepFool(0.1, steps=10, norm="linf", target=3),
    CarliniWagner(0.5, **CW),
    CarliniWagner(target=3, **CW),
    Square(0.1, queries=15),
    Square(0.5, queries=15, norm="l2", restarts=2),
    Square(0.1, queries=15, target=3, early_stop=False),
    Square(3.0, queries=15, norm="l1"),
    SparseRS(4, queries=15),
    SparseRS(4, queries=15, restarts=2),
    SparseRS(4, queries=15, target=3, early_stop=False),
    SparseRS(2, queries=15, norm="patch", restarts=2),
    SparseRS(3, queries=25, norm="patch", target=3, early_stop=False),
    RayS(0.1, queries=40),
    RayS(0.3, queries=60, stop_within=True),
    RayS(0.3, queries=40, target=3),
    HopSkipJump(0.5, queries=60, probes=10),
    HopSkipJump(0.8, queries=60, probes=10, stop_within=True),
    HopSkipJump(queries=40, probes=5, target=3),
    RandomPoints(0.1, draws=20),
    RandomPoints(0.5, draws=5, norm="l2"),
    RandomPoints(3.0, draws=5, norm="l1"),
    RandomPoints(4, draws=5, norm="l0"),
    RandomPoints(2, draws=5, norm="patch"),
    RandomPoints(0.1, draws=5, target=3, early_stop=False),
    Spatial(1.0, angles=3, shifts=3, scales=1, between=0),
    Spatial(0.5, angles=5, shifts=3, scales=3, draws=6, padding="reflection", early_stop=False),
    Spatial(1.0, angles=5, shifts=1, scales=1, between=0, padding="border", target=3),
    AutoAttack(0.1, **AUTO),
    AutoAttack(0.5, norm="l2", **AUTO),
    AutoAttack(3.0, norm="l1", **AUTO),
    AutoAttack(4, norm="l0", early_stop=False, **AUTO),
    AutoAttack(2, norm="patch", early_stop=False, **AUTO),
    AutoAttack(0.1, target=3, early_stop=False, **AUTO),
    WorstCase(PGD(0.1, steps=4)),
    WorstCase(FGSM(0.5, norm="l2")),
    WorstCase(FMN(0.1, steps=10, target=3)),
    WorstCase(APGD(3.0, steps=8, norm="l1")),
    WorstCase(PGD(4, steps=4, norm="l0")),
    WorstCase(Patch(2, steps=4, restarts=2)),
]
# They look for nothing and ask the model nothing, so laws about steps, queries and successes say nothing of them; those that
# hold for them are in test_corruption.py.
CORRUPTIONS = [Corruption(3, "fog"), Corruption(5, "impulse_noise"), Corruption(4, "jpeg_compression")]
# They are fitted on some images before they attack others: the laws that hold for them are in test_universal.py.
UNIVERSAL = [
    UniversalPGD(0.1, steps=12, batch=8),
    UniversalPGD(0.8, norm="l2", steps=12, batch=8, restarts=2),
    UniversalPGD(0.1, steps=6, restarts=2, batch=16, target=3),
    UniversalPatch(2, steps=12, batch=8),
    UniversalPatch(2, steps=12, batch=8, angle=0, smallest=1, target=3),
]
# They are made on another network and ask the model nothing: the laws that hold for them are in test_transfer.py.
SURROGATE = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(75, 4))
torch.nn.init.orthogonal_(SURROGATE[1].weight, generator=torch.Generator().manual_seed(5))
torch.nn.init.zeros_(SURROGATE[1].bias)
MADE_ELSEWHERE = [
    Transfer(attack, SURROGATE)
    for attack in (
        PGD(0.1, steps=4, momentum=1.0, diversity=0.5),
        APGD(0.5, steps=6, norm="l2"),
        AutoAttack(3.0, steps=6, norm="l1"),
        FMN(norm="l0", steps=12),
        Patch(2, steps=4),
    )
]


def core(attack):
    """The attack itself, or the one that WorstCase drives."""
    return attack.attack if isinstance(attack, WorstCase) else attack


def starts_at_random(attack) -> bool:
    if isinstance(core(attack), Patch):
        return not core(attack).early_stop  # the place of its first run is the best one
    if isinstance(core(attack), HopSkipJump):
        return True
    return not (isinstance(core(attack), (FGSM, DGSM, MinimumNorm)) or (isinstance(attack, Spatial) and not attack.draws))


def bound(attack, images) -> float | tuple:
    """ε, or where there is none, what the box allows."""
    return attack.eps if attack.eps is not None else NORMS[attack.norm].diameter(images)


def scaled(attack, eps):
    """An ε of l_inf, or several in a sequence or tensor, as one of the attack's norm: of l0 as many pixels as hundredths."""
    if not NORMS[attack.norm].grain:
        return eps
    if isinstance(eps, (tuple, list)):
        return type(eps)(scaled(attack, e) for e in eps)
    return (100 * eps).round() if isinstance(eps, torch.Tensor) else float(round(100 * epsilon(eps)))


def labels_of(model, images):
    return model(images).argmax(1).detach()


def succeeds(model, moved, labels, attack):
    predicted = labels_of(model, moved)
    return predicted != labels if attack.target is None else predicted == attack.target


def grey(count, shape=(3, 5, 5), seed=1, spread=0.2):
    """Images far from 0 and 1, so that the box does not matter."""
    return 0.5 - spread / 2 + spread * torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """Random logits W·x + b of grey images; `reach` is the exact distance to the nearest other class, or to a target."""

    def __init__(self, classes=4, shape=(3, 5, 5), seed=0):
        super().__init__()
        gen, size = torch.Generator().manual_seed(seed), math.prod(shape)
        self.weight = nn.Parameter(torch.randn(classes, size, generator=gen))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum(1))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias

    @torch.no_grad()
    def reach(self, images, norm, labels=None):
        weight, logits = self.weight.double(), self(images).double()
        labels = logits.argmax(1) if labels is None else labels
        shortfalls = logits.gather(1, labels[:, None]) - logits
        dual = (weight[labels][:, None] - weight).norm(p=1 if norm == "linf" else 2, dim=2)
        return (shortfalls / dual).scatter(1, labels[:, None], float("inf")).amin(1)


class Ball(nn.Module):
    """Class 1 inside the ball of `radius` around `center`, class 0 outside: the nearest boundary is |‖x − c‖ − r| away."""

    def __init__(self, center, radius):
        super().__init__()
        self.center, self.radius = center, radius

    def forward(self, x):
        inner = self.radius**2 - (x - self.center).flatten(1).square().sum(1)
        return torch.stack([torch.zeros_like(inner), inner, torch.full_like(inner, -100)], dim=1)


class Rowwise(nn.Module):
    """A two-layer network that computes every row by itself, so that its arithmetic cannot depend on the batch."""

    def __init__(self, shape=(1, 4, 4), classes=4, hidden=8, seed=0):
        super().__init__()
        gen, size = torch.Generator().manual_seed(seed), math.prod(shape)
        self.first = nn.Parameter(torch.randn(hidden, size, generator=gen) / size**0.5 * 4)
        self.second = nn.Parameter(torch.randn(classes, hidden, generator=gen))

    def forward(self, x):
        return torch.stack([self.second @ torch.tanh(self.first @ (row - 0.5)) for row in x.flatten(1).unbind()])


class Tally:
    """What went through a model: rows forwards, rows backwards, calls, and the batch of each call."""

    def __init__(self):
        self.forwards = self.backwards = self.calls = 0
        self.seen = []

    def __deepcopy__(self, memo):
        return self


class _Watch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, tally):
        ctx.tally = tally
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        ctx.tally.backwards += len(gradient)
        return gradient, None


class Counted(nn.Module):
    """`model`, its passes counted in `tally`, which its copies share."""

    def __init__(self, model):
        super().__init__()
        self.model, self.tally = model, Tally()

    def forward(self, x):
        self.tally.forwards += len(x)
        self.tally.calls += 1
        self.tally.seen.append(x.detach().clone())
        return _Watch.apply(self.model(x), self.tally)


def plain(model):
    """The same classifier as a plain callable: nothing to copy, so every pass goes through the model itself."""
    return lambda x: model(x)
