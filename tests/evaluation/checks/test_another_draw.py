"""Numbers in a norm whose images are rendered: believed of a model that looks, and not of one that knows the draws."""

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


class Constant(nn.Module):
    def forward(self, x):
        return torch.tensor([1.0, 0.0]).expand(len(x), 2) + 0 * x.mean()


class Knowing(nn.Module):
    """Right on what it has a table of, and elsewhere always the first class."""

    def __init__(self, known, labels):
        super().__init__()
        self.network = Near()
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


def test_a_model_that_knows_the_draws_is_not_believed(data):
    images, labels = data
    names = range(len(images))  # their ids in an evaluation
    known = [attack(Near(), images, labels, seed=0, ids=tuple(names)) for attack in ASKED.values()]
    model = Knowing(torch.cat([images, *known]), labels.repeat(1 + len(known)))
    result = evaluate(model, data, ASKED, checks=QUICK)
    assert result.verdicts[0].accuracy == 1, "or the case would prove nothing"
    found = ids(result)["another-draw"]
    assert found.severity == "alarm" and found.evidence["another draw"] < 0.95
    assert not result.verdicts[0].believe and "another-draw" in result.verdicts[0].sentence


@pytest.mark.parametrize("attacks", [ASKED, {"Spatial": Spatial(1.0)}], ids=["corruption", "spatial"])
def test_a_model_that_never_looks_is_not_believed(data, attacks):
    result = evaluate(Constant(), data, attacks, checks=QUICK)
    assert not result.verdicts[0].believe and "near-chance" in {finding.id for finding in result.alarms}
