"""What counts as the prediction: the class of the largest logit, however small the differences are."""

import pytest
import torch

from escrime.evaluation.scoring import score
from escrime.no_class import NO_TARGET


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1e-6, 1.0, 1e6, 1e30])
@pytest.mark.parametrize("draws", [1, 3])
def test_the_size_of_the_logits_changes_no_prediction(linear, data, size, draws):
    """Softmax in float32 makes equals of logits that differ by less than 1e-7; the model does not."""
    images = data[0]
    logits = linear(images).detach()
    wanted = logits.argmax(1)
    assert wanted.unique().numel() == 4

    class Scaled(torch.nn.Module):
        def forward(self, x):
            return size * linear(x)

    none, keys = torch.full_like(wanted, NO_TARGET), [(0, i) for i in range(len(images))]
    found = score(Scaled(), images, wanted, none, keys, draws)
    assert torch.equal(found.prediction, wanted) and found.correct.min() > 0.999
    turned = score(Scaled(), images, (wanted + 1) % 4, (wanted + 1) % 4, keys, draws)
    assert torch.equal(turned.prediction, wanted) and turned.correct.max() == 0 and turned.hit.max() == 0
