"""Scores that are flat: plateaus, labels, votes, codes, and models from outside torch."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.svm import SVC
from torch import Tensor, nn

from .member import Built, Member


class Output(nn.Module):
    """`shape(logits)` in place of the logits."""

    def __init__(self, network: nn.Module, shape):
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, images: Tensor) -> Tensor:
        return self.shape(self.network(images))


def between(logits: Tensor) -> Tensor:
    """Logits from the middle between the two largest."""
    return logits - logits.topk(2, dim=1).values.mean(1, keepdim=True)


def labels_by_numpy(logits: Tensor) -> Tensor:
    return torch.from_numpy(np.eye(10, dtype=np.float32)[logits.detach().cpu().numpy().argmax(1)])


def ranks(logits: Tensor) -> Tensor:
    return logits.argsort(1).argsort(1).float()


class Votes(nn.Module):
    """The labels of the k nearest training images, counted."""

    def __init__(self, images: Tensor, labels: Tensor, k: int):
        super().__init__()
        self.k = k
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("labels", F.one_hot(labels, 10).float())

    def forward(self, images: Tensor) -> Tensor:
        near = torch.cdist(images.flatten(1), self.images).topk(self.k, largest=False).indices
        return self.labels[near].mean(1)


class SoftVotes(Votes):
    """What an attacker takes for it: every training image has a say, less with the distance."""

    def forward(self, images: Tensor) -> Tensor:
        distance = torch.cdist(images.flatten(1), self.images)
        return torch.log(torch.softmax(-20 * distance, 1) @ self.labels + 1e-9)


class Hashed(nn.Module):
    """The features' signs along random lines, compared with each class's code."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, bits: int = 96):
        super().__init__()
        self.network = network
        lines = torch.randn(10, bits, generator=torch.Generator().manual_seed(5))
        self.register_buffer("lines", lines)
        with torch.no_grad():
            self.register_buffer("middle", network(images).mean(0))
            codes = torch.sign((network(images) - self.middle) @ lines)
            self.register_buffer("codes", torch.stack([torch.sign(codes[labels == k].sum(0)) for k in range(10)]))

    def forward(self, images: Tensor) -> Tensor:
        return torch.sign((self.network(images) - self.middle) @ self.lines) @ self.codes.T / 96


class Fitted(nn.Module):
    """A scikit-learn model's chances, as logits."""

    def __init__(self, fitted):
        super().__init__()
        self.fitted = fitted

    def forward(self, images: Tensor) -> Tensor:
        rows = images.detach().cpu().numpy().mean(1).reshape(len(images), -1)
        return torch.from_numpy(self.fitted(rows).astype(np.float32))


class RadialMachine(nn.Module):
    """scikit-learn's SVC (one against one), written out in torch, as an attacker does."""

    def __init__(self, machine: SVC):
        super().__init__()
        self.gamma, self.counts = machine._gamma, machine.n_support_
        self.points = torch.tensor(machine.support_vectors_, dtype=torch.float32)
        self.weights = torch.tensor(machine.dual_coef_, dtype=torch.float32)
        self.bias = torch.tensor(machine.intercept_, dtype=torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.mean(1).flatten(1)
        kernel = torch.exp(-self.gamma * torch.cdist(rows, self.points).square())
        ends = np.cumsum([0, *self.counts])
        votes, pair = [0] * 10, 0
        for i in range(10):
            for j in range(i + 1, 10):
                a, b = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
                value = kernel[:, a] @ self.weights[j - 1, a] + kernel[:, b] @ self.weights[i, b] + self.bias[pair]
                votes[i], votes[j] = votes[i] + torch.tanh(5 * value), votes[j] - torch.tanh(5 * value)
                pair += 1
        return torch.stack(votes, 1)


def _rows(kit):
    images, labels = kit.train
    return images.mean(1).flatten(1).numpy(), labels.numpy()


def _forest(kit):
    forest = ExtraTreesClassifier(60, min_samples_leaf=2, random_state=0).fit(*_rows(kit))
    known = (kit("conv"), kit("lenet"), SoftVotes(*kit.train, 5))
    return Built(Fitted(forest.predict_proba), kit("lenet"), known)


def _machine(kit):
    machine = SVC(gamma=0.5, C=10).fit(*_rows(kit))
    return Built(Fitted(lambda rows: np.eye(10)[machine.predict(rows)]), kit("conv"), (RadialMachine(machine),))


def _votes(k):
    return lambda kit: Built(Votes(*kit.train, k), kit("lenet"), (SoftVotes(*kit.train, k), kit("conv")))


def _bits(kit):
    from .architectures import Bits

    sharp = Bits(sharp=True)
    sharp.load_state_dict(kit("bits").state_dict())
    return Built(sharp.eval(), kit("bits"))


def _hashed(kit):
    return Built(Hashed(kit("conv"), *kit.train), kit("conv"))


def _output(name, shape, network="lenet", eps=0.12, source="own"):
    return Member(name, "flat", source, eps, lambda kit: Built(Output(kit(network), shape), kit(network)))


MEMBERS = [
    _output("logits × 1000", lambda z: 1000 * z, source="Carlini and Wagner, 2017"),
    _output("tanh plateau", lambda z: torch.tanh(60 * between(z))),
    _output("clamp plateau", lambda z: (40 * between(z)).clamp(-1, 1), "conv", 0.14),
    _output("sigmoid plateau", lambda z: torch.sigmoid(80 * between(z)), "conv", 0.14),
    _output("cold softmax", lambda z: F.softmax(z / 0.01, 1), source="Papernot et al., 2016"),
    _output("cold softmax and a floor", lambda z: 0.999 * F.softmax(z / 0.01, 1) + 0.0001),
    _output("cold softmax and a ripple", lambda z: F.softmax(between(z) * 200, 1) + 0.001 * torch.sin(50 * z), "conv", 0.14),
    _output("labels by numpy", labels_by_numpy, source="Chen and Gu, 2020"),
    _output("labels by one_hot", lambda z: F.one_hot(z.argmax(1), 10).float(), "conv", 0.14),
    _output("whole logits", lambda z: torch.round(z / 4) + 1e-3 * F.one_hot(z.argmax(1), 10)),
    _output("chances of one digit", lambda z: torch.round(F.softmax(z, 1) * 10) / 10 + 0.01 * F.one_hot(z.argmax(1), 10)),
    _output("ranks", ranks, "conv", 0.14),
    Member("nearest neighbors vote", "flat", "Papernot and McDaniel, 2018", 0.2, _votes(5), on_model=True),
    Member("error-correcting signs", "flat", "Verma and Swami, 2019", 0.14, _bits),
    Member("hash codes", "flat", "own", 0.14, _hashed),
    Member("forest", "flat", "scikit-learn", 0.12, _forest, on_model=True),
    Member("support vectors' labels", "flat", "scikit-learn", 0.16, _machine, on_model=True),
]
