"""Models that raise, at whatever call: evaluations end in a sentence or in a verdict, which is not believed above the truth."""

import pytest
import torch
from torch import nn

from escrime import FGSM, PGD, Corruption, Effort, EscrimeError, evaluate

QUICK = Effort(images=32, steps=20, queries=100, draws=20, doublings=1)
STEP = FGSM(0.05)
CALLS: list[int] = []


class Raising(nn.Module):
    """The network; raises where `when` holds of the number of the call and the images. The count is in no copy of it."""

    def __init__(self, network, when):
        super().__init__()
        self.network, self.when = network, when
        CALLS.clear()

    def forward(self, x):
        CALLS.append(len(x))
        if self.when(len(CALLS), x.detach()):
            raise RuntimeError("too many requests")
        return self.network(x)


@pytest.fixture
def few(data):
    return data[0][:60], data[1][:60]


def asked(model, data, attacks=STEP):
    """The verdict, None where the evaluation ended in a sentence."""
    try:
        return evaluate(model, data, attacks, checks=QUICK).verdicts[0]
    except EscrimeError as error:
        assert "raise" in str(error) or "fails" in str(error)
        assert "too many requests" in str(error)
        return None


@pytest.mark.parametrize("after", [1, 2, 5, 20, 40, 60, 80, 100, 150, 200, 300])
def test_from_some_call_on(linear, few, after):
    truth = evaluate(linear, few, STEP, checks=QUICK).verdicts[0]
    verdict = asked(Raising(linear, lambda call, _: call > after), few)
    if verdict is not None and len(CALLS) > after:
        assert not verdict.believe and "failed" in verdict.sentence
        assert verdict.accuracy >= truth.accuracy - 0.05


@pytest.mark.slow
def test_once_at_any_call(linear, few):
    """What one exception takes from the search must not be taken for strength."""
    truth = evaluate(linear, few, STEP, checks=QUICK).verdicts[0]
    asked(Raising(linear, lambda call, _: False), few)
    for number in range(1, len(CALLS), 23):
        verdict = asked(Raising(linear, lambda call, _: call == number), few)  # noqa: B023
        assert verdict is None or not verdict.believe or verdict.accuracy <= truth.accuracy + 0.05, number


def off_levels(_, x):
    return bool(((255 * x) - (255 * x).round()).abs().max() > 1e-3)


@pytest.mark.parametrize("module", [True, False])
def test_on_what_is_no_8_bit_image(linear, few, module):
    images = (255 * few[0]).round() / 255
    model = Raising(linear, off_levels)
    verdict = asked(model if module else lambda x: model(x), (images, few[1]), PGD(8 / 255, steps=5))
    assert verdict is None or not verdict.believe


def test_on_corrupted_images(linear, few):
    """Where nothing is attacked, an image that raises has not kept its class."""
    verdict = asked(Raising(linear, lambda _, x: x.std() < 0.15), few, Corruption(5, "contrast"))
    assert verdict is not None and not verdict.believe and "attack-failed" in verdict.sentence


def test_of_a_few_images_only(linear, few):
    """Every attack ends on the batch that holds one of them; nothing is known of its images then."""
    far = lambda _, x: bool((torch.cdist(x.flatten(1), few[0][:2].flatten(1), p=float("inf")).amin(1) < 0.06).any())  # noqa: E731
    moved = lambda call, x: far(call, x) and not any(torch.equal(row, image) for row in x for image in few[0][:2])  # noqa: E731
    verdict = asked(Raising(linear, moved), few)
    assert verdict is None or not verdict.believe
