"""Normalization is the first layer, and logits are all a classifier returns."""

import pytest
import torch
from torch import nn
from torchvision.models.inception import InceptionOutputs

from escrime.errors import EscrimeError
from escrime.models import Normalized, build, logits_and_auxiliary


class Tupled(nn.Module):
    """Like torchvision's Inception: a named tuple in training, a tensor otherwise."""

    def forward(self, images):
        logits = images.flatten(1)
        return InceptionOutputs(logits, 2 * logits) if self.training else logits


@pytest.fixture(scope="module")
def googlenet():
    return build("googlenet", 3)


def test_pixels_are_normalized_per_channel():
    model = Normalized(nn.Flatten(), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    assert model(torch.ones(1, 3, 1, 1)).tolist() == [[1.0, 3.0, 0.5]]


def test_one_number_serves_every_channel():
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(Normalized(nn.Identity(), 0.5, 0.25)(images), (images - 0.5) / 0.25)
    assert torch.equal(Normalized(nn.Identity(), 0.5, [1, 2, 4.0]).mean.flatten(), torch.full((3,), 0.5))


def test_normalization_travels_with_the_weights():
    model = Normalized(nn.Linear(2, 2), [0.1, 0.2, 0.3], [1, 2, 3])
    assert set(model.state_dict()) == {"mean", "std", "network.weight", "network.bias"}
    assert not any(parameter is model.mean for parameter in model.parameters())
    assert model.double().mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        (0.5, 0.0, "not positive"),
        (0.5, [0.2, -0.1, 0.2], "not positive"),
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "divide mean and std by 255"),
        (float("nan"), 1, "finite"),
        ([0.5, 0.5], [0.5, 0.5, 0.5], "2 values"),
        ("half", 1, "'half'"),
        ([], 1, "finite"),
    ],
)
def test_impossible_normalization_is_refused(mean, std, said):
    with pytest.raises(EscrimeError, match=said):
        Normalized(nn.Identity(), mean, std)


def test_training_mode_returns_logits_alone(images):
    model = Normalized(Tupled(), 0.5, 0.5).train()
    logits, auxiliary = logits_and_auxiliary(model, images)
    assert torch.equal(model(images), logits)
    assert len(auxiliary) == 1 and torch.equal(auxiliary[0], 2 * logits)
    assert logits_and_auxiliary(model.eval(), images)[1] == []


def test_googlenet_trains_both_auxiliary_heads_in_order(googlenet, images):
    seen = {}
    hooks = [
        getattr(googlenet.network, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name in ("aux1", "aux2")
    ]
    logits, auxiliary = logits_and_auxiliary(googlenet.train(), images)
    for hook in hooks:
        hook.remove()
    assert logits.shape == (4, 3)
    assert auxiliary[0] is seen["aux1"] and auxiliary[1] is seen["aux2"] and seen["aux1"].shape == (4, 3)
    sum(z.sum() for z in auxiliary).backward()
    assert googlenet.network.aux1.fc2.weight.grad is not None
    assert googlenet.network.aux2.conv.conv.weight.grad is not None


def test_googlenet_runs_no_auxiliary_head_at_inference(googlenet, images):
    calls = []
    hook = googlenet.network.aux1.register_forward_hook(lambda *_: calls.append(1))
    logits, auxiliary = logits_and_auxiliary(googlenet.eval(), images)
    hook.remove()
    assert auxiliary == [] and calls == [] and torch.equal(logits, googlenet(images))


def test_any_module_has_an_empty_list_of_auxiliary_logits(images):
    logits, auxiliary = logits_and_auxiliary(nn.Flatten(), images)
    assert torch.equal(logits, images.flatten(1)) and auxiliary == []


def test_auxiliary_logits_come_through_wrappers(images):
    from lightning_fabric import Fabric

    model = Normalized(Tupled(), 0.5, 0.5).train()
    wrapped = [nn.DataParallel(model), Fabric(accelerator="cpu", devices=1).setup(model)]
    for wrapper in wrapped:
        logits, auxiliary = logits_and_auxiliary(wrapper.train(), images)
        assert torch.equal(logits, model(images)) and torch.equal(auxiliary[0], 2 * logits)


def test_a_foreign_wrapper_is_called_as_any_module(images):
    class Scaled(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, images):
            return 3 * self.module(images)

    model = Normalized(Tupled(), 0.5, 0.5).train()
    logits, auxiliary = logits_and_auxiliary(Scaled(model), images)
    assert torch.equal(logits, 3 * model(images)) and auxiliary == []
