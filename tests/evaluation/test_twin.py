"""Clear verdicts may come from the faster copy; close ones are always the original's."""

import copy

import torch
from torch import nn

from escrime import FGSM, evaluate
from escrime.evaluation.twin import Twin


class Biased(nn.Module):
    """A copy that is off by up to `error` per logit, always against the predicted class."""

    def __init__(self, model, error):
        super().__init__()
        self.model, self.error = model, error

    def forward(self, x):
        logits = self.model(x)
        return logits - self.error * nn.functional.one_hot(logits.argmax(1), logits.shape[1])


def keys(n):
    return [(0, i) for i in range(n)]


def test_close_verdicts_are_the_originals(linear, data, monkeypatch):
    images = data[0]
    logits = linear(images).detach()
    margin = logits.topk(2).values.diff(dim=1).abs().flatten()
    error = float(margin.quantile(0.3))
    monkeypatch.setattr("escrime.evaluation.twin.prepare", lambda model: Biased(copy.deepcopy(model), error))
    twin = Twin.of(linear, images)
    assert abs(twin.gap - error) < 1e-5
    with torch.no_grad():
        assert (twin.copy(images).argmax(1) != logits.argmax(1)).sum() > 10, "the copy alone must be wrong here"
        assert torch.equal(twin.logits(images, keys(150)).argmax(1), logits.argmax(1))


def test_only_close_verdicts_cost_a_pass_of_the_original(linear, data):
    passes = []
    twin = Twin.of(linear, data[0])
    linear.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    twin.logits(data[0], keys(150))
    assert sum(passes) < 15


def test_records_do_not_depend_on_the_copy(linear, data, monkeypatch):
    fast = evaluate(linear, data, FGSM(0.05)).records
    monkeypatch.setattr("escrime.evaluation.twin.prepare", copy.deepcopy)
    assert evaluate(linear, data, FGSM(0.05)).records["prediction"].equals(fast["prediction"])


def test_nan_goes_back_to_the_original(linear, data):
    twin = Twin(linear, lambda x: torch.full((len(x), 4), float("nan")), 0.0)
    with torch.no_grad():
        assert torch.equal(twin.logits(data[0], keys(150)), linear(data[0]))
