"""The small networks: any input from 8 to 64 px, and digits learned in a few epochs."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from escrime.models import build

SMALL = ("lenet", "wide_resnet_small")


@pytest.mark.parametrize("arch", SMALL)
@pytest.mark.parametrize("size", [8, 15, 28, 32, 64])
def test_inputs_from_8_to_64_pixels(arch, size):
    images = torch.rand(2, 3, size, size, requires_grad=True)
    logits = build(arch, 7)(images)
    logits.sum().backward()
    assert logits.shape == (2, 7) and logits.isfinite().all()
    # Every pixel of an 8×8 image counts, though both networks shrink it to a 2×2 or 4×4 grid.
    assert size > 8 or (images.grad.abs().sum(dim=1) > 0).float().mean() > 0.9


def test_sizes_are_those_described():
    assert [sum(p.numel() for p in build(arch, 10).parameters()) for arch in SMALL] == [86622, 303706]


@pytest.mark.parametrize(("arch", "rate", "epochs"), [("lenet", 0.05, 8), ("wide_resnet_small", 0.1, 4)])
def test_digits_are_learned_in_a_few_epochs(arch, rate, epochs):
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1).contiguous()
    labels = torch.tensor(digits.target)
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=draw)
    train, test = order[:1297], order[1297:]
    model = build(arch, 10, seed=1).train()
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * 21
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train), generator=draw)].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        accuracy = (model.eval()(images[test]).argmax(1) == labels[test]).float().mean()
    assert accuracy >= 0.95
