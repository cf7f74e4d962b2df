"""Clear verdicts may come from the faster copy; close ones are always the original's."""

import copy

import pytest
import torch
from torch import nn

from escrime import APGD, DGSM, FGSM, PGD, EscrimeError, evaluate
from escrime.models.twin import PROBE, SAFETY, Twin
from escrime.randomness import as_keys


class Linear(nn.Module):
    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


@pytest.fixture
def linear():
    return Linear(torch.randn(4, 48, generator=torch.Generator().manual_seed(0)), torch.zeros(4))


@pytest.fixture
def data(linear):
    images = torch.rand(150, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return images, linear(images).argmax(1)


class Biased(nn.Module):
    """A copy that is off by up to `error` per logit, always against the predicted class."""

    def __init__(self, model, error):
        super().__init__()
        self.model, self.error = model, error

    def forward(self, x):
        logits = self.model(x)
        return logits - self.error * nn.functional.one_hot(logits.argmax(1), logits.shape[1])


def keys(n):
    return as_keys([(0, i) for i in range(n)])


def test_close_verdicts_are_the_originals(linear, data):
    images = data[0]
    logits = linear(images).detach()
    margin = logits.topk(2).values.diff(dim=1).abs().flatten()
    error = float(margin.quantile(0.3))
    twin = Twin(linear, Biased(copy.deepcopy(linear), error))
    with torch.no_grad():
        assert (twin.copy(images).argmax(1) != logits.argmax(1)).sum() > 10, "the copy alone must be wrong here"
        assert torch.equal(twin.logits(images, keys(150)).argmax(1), logits.argmax(1))
    assert abs(twin.gap - error) < 1e-5


def test_only_close_verdicts_cost_a_pass_of_the_original(linear, data):
    passes = []
    twin = Twin(linear)
    linear.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    twin.logits(data[0], keys(150))
    assert PROBE <= sum(passes) < 15 + PROBE
    twin.logits(data[0], keys(150))
    assert sum(passes) < 30 + PROBE, "once measured, the gap is known"


def test_only_claimed_rows_are_settled(linear, data):
    logits = linear(data[0]).detach()
    twin = Twin(linear, Biased(copy.deepcopy(linear), 1e6))
    claimed = torch.zeros(150, dtype=torch.bool)
    claimed[[3, 70]] = True
    settled, asked = twin.settle(data[0], twin.copy(data[0]).detach(), keys(150), claimed)
    assert torch.equal(asked, claimed) and torch.allclose(settled[claimed], logits[claimed], atol=1e-5)
    assert not torch.equal(settled[~claimed], logits[~claimed])


def test_records_do_not_depend_on_the_copy(linear, data, monkeypatch):
    fast = evaluate(linear, data, FGSM(0.05), checks=False).records
    monkeypatch.setattr("escrime.models.twin.prepare", copy.deepcopy)
    assert evaluate(linear, data, FGSM(0.05), checks=False).records["prediction"].equals(fast["prediction"])


def test_nan_goes_back_to_the_original(linear, data):
    twin = Twin(linear, lambda x: torch.full((len(x), 4), float("nan")))
    with torch.no_grad():
        said, original = twin.logits(data[0], keys(150)), linear(data[0])
    # The original is asked in two parts: on some processors a product's last bits depend on how many rows it has.
    assert torch.allclose(said, original, atol=1e-5)


class Scaled(nn.Module):
    """A copy that computes something else, with the same answers while nothing is attacked."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).detach() * 2 + 0 * x.sum()


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1, steps=10), APGD(0.1, steps=10)], ids=repr)
def test_a_copy_that_computes_something_else_is_left(linear, data, attack):
    """Its gradients would mislead: the attack would be weaker, and the model look robust."""
    images, labels = data[0][:40], data[1][:40]
    twin = Twin(linear, Scaled(linear))
    attack(twin, images, labels)
    assert twin.copy is linear or isinstance(attack, FGSM)  # which does not look at its answers
    with torch.no_grad():
        assert torch.allclose(twin.logits(images, keys(40)), linear(images), atol=1e-5)
    moved, alone = (attack(model, images, labels) for model in (twin, linear))
    assert torch.allclose(moved, alone, atol=1e-5)


class Brighter(nn.Module):
    """A copy that calls an image fooled somewhat too early: what a faster, coarser arithmetic might do."""

    def __init__(self, model, bias):
        super().__init__()
        self.model, self.bias = model, bias

    def forward(self, x):
        return self.model(x) + self.bias


@pytest.mark.parametrize("attack", [PGD(0.6, steps=80, step_size=0.01), APGD(0.6), DGSM(0.6, target=3, early_stop=True)])
def test_a_success_that_the_original_does_not_see_goes_back_to_work(linear, data, attack):
    images, labels = data[0][:30], linear(data[0][:30]).argmax(1)
    images, labels = images[labels != 3], labels[labels != 3]
    bias = torch.zeros(4)
    bias[3] = 1.0  # the copy is too fond of class 3
    wrong = Twin(linear, Brighter(copy.deepcopy(linear), bias))
    outcome = attack.sweep(wrong, images, labels, [0.6])[0]
    truth = linear(outcome.adversarial).argmax(1)
    fooled = truth != labels if attack.target is None else truth == attack.target
    assert torch.equal(outcome.success, fooled), "what is reported is what the original says"
    assert fooled.float().mean() > 0.9, "the jobs went on until the original agreed"


def test_a_model_that_cannot_be_copied_is_its_own_copy(linear, data):
    class Stubborn(type(linear)):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    model = Stubborn(linear.weight.data, linear.bias.data)
    twin = Twin(model)
    assert twin.exact and torch.equal(twin.logits(data[0], keys(150)), linear(data[0]))
    assert not torch.equal(PGD(0.1, steps=2)(model, *data), data[0])
    assert SAFETY > 1


@pytest.mark.parametrize("attack", [FGSM(0.05), PGD(0.05, steps=5), APGD(0.05, steps=5)], ids=repr)
def test_in_bfloat16_every_success_is_the_originals(linear, data, attack):
    images, labels = data
    outcome = attack.sweep(Twin(linear, precision="bfloat16"), images, labels, [0.05])[0]
    fooled = linear(outcome.adversarial).argmax(1) != labels
    exact = linear(attack(linear, images, labels)).argmax(1) != labels
    assert outcome.adversarial.dtype == torch.float32 and outcome.success is None or torch.equal(outcome.success, fooled)
    assert abs(int(fooled.sum()) - int(exact.sum())) < 15, "steps in bfloat16 are a little coarser, no more"


def test_an_unknown_precision_is_refused(linear):
    with pytest.raises(EscrimeError, match="'float16' is unknown"):
        Twin(linear, precision="float16")


class CoarseInSmallBatches(Brighter):
    """As a GPU that chooses a TensorFloat-32 kernel by the size of the batch: the first answers tell nothing of later ones."""

    def forward(self, x):
        return super().forward(x) if len(x) < 60 else self.model(x)


def test_where_a_gpu_rounds_no_success_stands_on_the_copy(linear, data, monkeypatch):
    images, labels = data[0][:60], data[1][:60]
    bias = torch.tensor([0.0, 0.0, 0.0, 1.0])

    def mistaken():
        twin = Twin(linear, CoarseInSmallBatches(copy.deepcopy(linear), bias))
        outcome = PGD(0.6, steps=80, step_size=0.01).sweep(twin, images, labels, [0.6])[0]
        fooled = linear(outcome.adversarial).argmax(1) != labels
        return int((outcome.success & ~fooled).sum())

    assert mistaken() > 0, "the measured gap is too small, or this test shows nothing"
    monkeypatch.setattr("escrime.models.twin.rounds", lambda device: True)
    assert mistaken() == 0


def test_where_a_gpu_rounds_verdicts_cost_one_pass_of_the_original(linear, data, monkeypatch):
    monkeypatch.setattr("escrime.models.twin.rounds", lambda device: True)
    twin = Twin(linear, lambda x: pytest.fail("the copy is not asked"))
    assert torch.equal(twin.logits(data[0], keys(150)), linear(data[0]))
