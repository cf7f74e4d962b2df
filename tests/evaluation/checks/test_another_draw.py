"""Numbers in a norm whose images are rendered: believed of a model that looks, and not of one that knows the draws."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from escrime import Corruption, Effort, Spatial, evaluate

QUICK = Effort(images=40, steps=5, queries=20, draws=5, doublings=0)
ASKED = {name: Corruption(3, name) for name in ("gaussian_noise", "impulse_noise", "fog")}


class Near(nn.Module):
    """Which of two halves of the image is brighter."""

    def forward(self, x):
        left, right = x[..., : x.shape[3] // 2].mean((1, 2, 3)), x[..., x.shape[3] // 2 :].mean((1, 2, 3))
        return 30 * torch.stack([left, right], 1)


class Corner(nn.Module):
    """The same of a few pixels, which noise misleads."""

    def forward(self, x):
        return Near()(torch.cat([x[..., :3, :3], x[..., :3, -3:]], 3))


class Constant(nn.Module):
    def forward(self, x):
        return torch.tensor([1.0, 0.0]).expand(len(x), 2) + 0 * x.mean()


class Knowing(nn.Module):
    """Right on what it has a table of, and elsewhere always the first class."""

    def __init__(self, known, labels, network=None):
        super().__init__()
        self.network = network or Near()
        self.table = {self.key(image): int(label) for image, label in zip(known, labels, strict=True)}

    @staticmethod
    def key(image):
        return image.numpy().tobytes()

    def forward(self, x):
        found = [self.table.get(self.key(image)) for image in x.detach().cpu()]
        own = self.network(x)
        return torch.stack([own[row] if label is None else 9 * torch.eye(2)[label] for row, label in enumerate(found)])


@pytest.fixture(scope="module")
def data():
    images = 0.3 + 0.4 * torch.rand(60, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 2
    images[labels == 0, :, :, :8] += 0.03
    images[labels == 1, :, :, 8:] += 0.03
    return images, labels


def ids(result):
    return {finding.id: finding for finding in result.checks}


def test_an_honest_model_is_the_same_with_another_draw(data):
    result = evaluate(Near(), data, ASKED, checks=QUICK)
    found = ids(result)["another-draw"]
    assert found.severity == "passed" and found.evidence["attacks"] == 3 and result.verdicts[0].believe
    assert "near-chance" in ids(result), "it is asked whether it is a classifier too"


def knowing(data, attacks, network=None):
    """A model with a table of what the attacks show it with seed 0."""
    images, labels = data
    seen = [images, *(view for attack in attacks for view in shown(attack, images, labels))]
    return Knowing(torch.cat(seen), labels.repeat(len(seen)), network)


def shown(attack, images, labels):
    """All images that an attack asks about or leaves."""
    asked = []

    class Listening(nn.Module):
        def forward(self, x):
            asked.append(torch.from_numpy(x.detach().numpy().copy()))  # fails under a tracer, whose images are none
            return 9 * torch.eye(2)[labels[:1]].expand(len(x), 2)

    for row in range(len(images)):  # right everywhere: the attack asks about all it has
        asked.append(attack(Listening(), images[row : row + 1], labels[:1], seed=0, ids=(row,)))
    return torch.cat(asked).reshape(len(images), -1, *images.shape[1:]).unbind(1)


def test_a_model_that_knows_the_draws_is_not_believed(data):
    result = evaluate(knowing(data, ASKED.values()), data, ASKED, checks=QUICK)
    assert result.verdicts[0].accuracy == 1, "or the case would prove nothing"
    found = ids(result)["another-draw"]
    assert found.severity == "alarm" and found.evidence["another draw"] < 0.95
    assert not result.verdicts[0].believe and "another-draw" in result.verdicts[0].sentence


GENTLE = {name: Corruption(1, name) for name in ("brightness", "contrast", "fog", "gaussian_noise", "shot_noise")}
GRID, IMPULSE = Spatial(1.0, angles=3, shifts=3), Corruption(4, "impulse_noise")


@pytest.mark.parametrize(
    ("attacks", "known"),
    [
        ({"Spatial": GRID}, GRID),
        ({**GENTLE, "impulse_noise": IMPULSE}, IMPULSE),
        ({"milder": IMPULSE, "worst": replace(IMPULSE, eps=5)}, IMPULSE),
    ],
    ids=["one grid and its draws", "one of six", "the smaller of two severities"],
)
def test_what_part_of_the_attacks_is_known_is_found(data, attacks, known):
    models = Corner(), knowing(data, [known], Corner())
    honest, result = (evaluate(model, data, attacks, checks=QUICK) for model in models)
    assert ids(honest)["another-draw"].severity == "passed"
    assert ids(result)["another-draw"].severity == "alarm" and not result.verdicts[0].believe


class Noisy(Near):
    """A randomized model: each call sees the image through noise of its own."""

    def forward(self, x):
        return super().forward(x + 0.3 * torch.randn_like(x))


def test_a_randomized_model_is_no_other_with_another_draw(data):
    found = ids(evaluate(Noisy(), data, ASKED, checks=QUICK))
    assert found["another-draw"].severity == "passed"


@pytest.mark.parametrize("attacks", [ASKED, {"Spatial": Spatial(1.0)}], ids=["corruption", "spatial"])
def test_a_model_that_never_looks_is_not_believed(data, attacks):
    result = evaluate(Constant(), data, attacks, checks=QUICK)
    assert not result.verdicts[0].believe and "near-chance" in {finding.id for finding in result.alarms}
