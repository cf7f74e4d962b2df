"""Attacks may follow the faster copy; every verdict is the original's."""

import copy

import pytest
import torch
from torch import nn

from escrime import APGD, DGSM, FGSM, FMN, PGD, EscrimeError, evaluate
from escrime.evaluation.scoring import score
from escrime.models.fast.twin import CLOSE, SAFETY, Twin
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
    assert abs(twin.difference - error) < 1e-5


def test_a_verdict_costs_one_pass_of_the_original_and_one_more_where_it_is_close(linear, data):
    passes, margin = [], linear(data[0]).detach().topk(2).values.diff(dim=1).abs().flatten()
    few = int((margin < CLOSE * linear(data[0]).detach().abs().amax(1)).sum())
    twin = Twin(linear)
    linear.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    twin.logits(data[0], keys(150))
    assert passes == [150] + [1] * few


class WrongInTheDark(nn.Module):
    """A copy that is exact on the first images and clearly wrong on dark ones: their logits are turned round by one class."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits, dark = self.model(x), x.flatten(1).mean(1) < 0.45
        return torch.where(dark[:, None], logits.roll(1, dims=1), logits)


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_records_are_the_originals_where_the_copy_calls_it_fooled_and_where_it_calls_it_robust(linear, data, turn):
    """A copy that errs where it was never measured, by far more than any margin, in both directions."""
    images = data[0] * torch.where(torch.arange(150) < 100, 1.0, 0.7)[:, None, None, None]
    truth = linear(images).argmax(1)
    labels = truth if not turn else (truth + 1) % 4  # all right, or right on the copy alone
    twin = Twin(linear, WrongInTheDark(copy.deepcopy(linear)))
    twin.difference, twin.compared = 0.0, 8
    verdict = score(twin, images, labels, torch.full((150,), -1), [(0, i) for i in range(150)])
    with torch.no_grad():
        wrong = twin.model(images).argmax(1) != WrongInTheDark(linear)(images).argmax(1)
    assert wrong.sum() > 40, "the copy must err, or this test shows nothing"
    assert torch.equal(verdict.prediction, truth) and bool((verdict.correct == 1 - turn).all())


@pytest.mark.parametrize("attack", [PGD(0.3, steps=20, early_stop=True), APGD(0.3, steps=20), FMN(0.3, steps=20)], ids=repr)
def test_success_flags_are_the_originals_where_the_copy_was_never_measured(linear, data, attack):
    images = data[0][:60] * 0.9
    labels = linear(images).argmax(1)
    twin = Twin(linear, WrongInTheDark(copy.deepcopy(linear)))
    twin.compared = 8
    outcome = attack.sweep(twin, images, labels, [0.05])[0]
    fooled = linear(outcome.adversarial).argmax(1) != labels
    assert not (outcome.success & ~fooled).any()


def test_the_gap_has_a_floor(linear, data):
    twin = Twin(linear, copy.deepcopy(linear))
    twin.compared = 8
    logits = torch.tensor([[1e6, 1e6 + 1, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    assert twin.difference == 0 and twin.uncertain(logits).tolist() == [True, False]


class Rounding(nn.Module):
    """A model whose rounding depends on the batch: alone it is right to the last bit, in company off by 1e-5."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        return logits if len(x) == 1 else logits + 1e-5 * torch.arange(len(x))[:, None] * torch.tensor([1.0, -1.0, 0.0, 0.0])


def test_a_close_verdict_does_not_depend_on_the_batch(linear):
    """Images on the boundary of two classes: same image, same verdict."""
    images = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        w = linear.weight[0] - linear.weight[1]
        linear.weight[2:] = linear.weight[0] - 10  # never on top
        images = (images.flatten(1) - ((images.flatten(1) @ w) / (w @ w))[:, None] * w).view_as(images)
        twin = Twin(Rounding(linear))
        together = twin.logits(images, keys(64)).argmax(1)
        parts = torch.cat([twin.logits(images[i : i + 7], keys(64)[i : i + 7]).argmax(1) for i in range(0, 64, 7)])
        naive = Rounding(linear)(images).argmax(1)
    assert torch.equal(together, parts) and not torch.equal(together, naive)


def test_only_claimed_rows_are_settled(linear, data):
    logits = linear(data[0]).detach()
    twin = Twin(linear, Biased(copy.deepcopy(linear), 1e6))
    claimed = torch.zeros(150, dtype=torch.bool)
    claimed[[3, 70]] = True
    settled, asked = twin.verify(data[0], twin.copy(data[0]).detach(), keys(150), claimed)
    assert torch.equal(asked, claimed) and torch.allclose(settled[claimed], logits[claimed], atol=1e-5)
    assert not torch.equal(settled[~claimed], logits[~claimed])


def test_records_do_not_depend_on_the_copy(linear, data, monkeypatch):
    fast = evaluate(linear, data, FGSM(0.05), checks=False).records
    monkeypatch.setattr("escrime.models.fast.twin.prepare", copy.deepcopy)
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
    assert twin.exact and torch.allclose(twin.logits(data[0], keys(150)), linear(data[0]), atol=1e-5)
    assert not torch.equal(PGD(0.1, steps=2)(model, *data), data[0])
    assert SAFETY > 1


@pytest.mark.parametrize("attack", [FGSM(0.05), PGD(0.05, steps=5), APGD(0.05, steps=5)], ids=repr)
def test_in_bfloat16_every_success_is_the_originals(linear, data, attack):
    images, labels = data
    outcome = attack.sweep(Twin(linear, precision="bfloat16"), images, labels, [0.05])[0]
    fooled = linear(outcome.adversarial).argmax(1) != labels
    exact = linear(attack(linear, images, labels)).argmax(1) != labels
    assert outcome.adversarial.dtype == torch.float32
    assert outcome.success is None or torch.equal(outcome.success, fooled)
    assert abs(int(fooled.sum()) - int(exact.sum())) < 15, "steps in bfloat16 are a little coarser, no more"


def test_an_unknown_precision_is_refused(linear):
    with pytest.raises(EscrimeError, match="'float16' is unknown"):
        Twin(linear, precision="float16")


class CoarseInSmallBatches(Brighter):
    """As a GPU that chooses a TensorFloat-32 kernel by the size of the batch: the first answers tell nothing of later ones."""

    def forward(self, x):
        return super().forward(x) if len(x) < 60 else self.model(x)


def test_what_a_small_batch_makes_coarse_is_no_success(linear, data):
    images, labels = data[0][:60], data[1][:60]
    twin = Twin(linear, CoarseInSmallBatches(copy.deepcopy(linear), torch.tensor([0.0, 0.0, 0.0, 1.0])))
    outcome = PGD(0.6, steps=80, step_size=0.01).sweep(twin, images, labels, [0.6])[0]
    fooled = linear(outcome.adversarial).argmax(1) != labels
    assert not (outcome.success & ~fooled).any() and fooled.float().mean() > 0.9


def test_where_a_gpu_rounds_verdicts_cost_one_pass_of_the_original(linear, data, monkeypatch):
    monkeypatch.setattr("escrime.models.fast.twin.rounds", lambda device: True)
    twin = Twin(linear, lambda x: pytest.fail("the copy is not asked"))
    assert torch.allclose(twin.logits(data[0], keys(150)), linear(data[0]), atol=1e-5)
