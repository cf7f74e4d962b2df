"""Precision on a GPU: what a verdict rests on is float32, whatever convolutions use elsewhere."""

import pytest
import torch
from torch import nn

from escrime.models.fast.twin import Twin
from escrime.models.running import full_precision

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA GPU here", allow_module_level=True)


def test_the_original_is_asked_in_float32():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 256, 3), nn.Conv2d(256, 256, 3), nn.Flatten(), nn.Linear(256 * 12 * 12, 4)).cuda()
    images, keys = torch.rand(16, 3, 16, 16, device="cuda"), torch.arange(16)
    with torch.no_grad():
        exact = network.double()(images.double()).float()
        network.float()
        rough = (network(images) - exact).abs().max()
        fine = (Twin(network).original(images, keys, exact) - exact).abs().max()
        alone = (Twin(network, copy=network).logits(images, keys) - exact).abs().max()
    assert fine < 1e-5 and alone < 1e-5
    if torch.backends.cudnn.conv.fp32_precision == "tf32":
        assert rough > 10 * fine, "TensorFloat-32 should differ here, or this test shows nothing"


def test_the_users_switches_come_back():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        for wanted in (True, False):
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = wanted
            with full_precision(torch.device("cuda")):
                pass
            assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (wanted, wanted)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
