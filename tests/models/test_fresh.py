"""A model without a memory: every call meets it as it was at the beginning."""

import numpy as np
import pytest
import torch
from torch import nn

from escrime.models.fast.twin import Twin
from escrime.models.fresh import Fresh
from escrime.randomness import as_keys


class Counting(nn.Module):
    """Adds the number of calls, and of images in a buffer, to what a layer says."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.seen = nn.Linear(12, 3), 0, []
        with torch.no_grad():  # no two classes so close that an image is asked about once more, alone
            self.layer.weight.copy_(torch.arange(36).view(3, 12) / 36)
        self.register_buffer("images", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.seen.append(x.detach())
        self.images += len(x)
        return self.layer(x.flatten(1)) + self.calls + self.images + len(self.seen)


@pytest.fixture
def x():
    return torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def test_every_call_meets_the_model_as_it_was(x):
    model = Counting()
    model(x)
    fresh = Fresh(model)
    expected = fresh(x)
    model(x)
    assert all(torch.equal(fresh(x), expected) for _ in range(3)), "also after the model itself has gone on"
    assert model.calls == 2 and len(fresh.model.seen) == 1 and not torch.equal(model(x), expected)


def test_parameters_are_shared_and_gradients_are_those_of_the_model(x):
    model, given = Counting(), x.clone().requires_grad_()
    fresh = Fresh(model)
    assert {id(p) for p in fresh.parameters()} == {id(p) for p in model.parameters()}
    (found,) = torch.autograd.grad(fresh(given)[:, 0].sum(), given)
    (true,) = torch.autograd.grad(model(given)[:, 0].sum(), given)
    assert torch.equal(found, true)
    with torch.no_grad():
        model.layer.bias += 1
    assert torch.equal(fresh.model.layer.bias, model.layer.bias)


def test_noise_of_a_generator_of_its_own_stays_noise(x):
    """A copy of the generator would draw the same numbers in every call, and an attack would learn them."""

    class Noisy(nn.Module):
        def __init__(self, source):
            super().__init__()
            self.source = source

        def forward(self, x):
            if isinstance(self.source, torch.Generator):
                return x.flatten(1) + torch.rand(x[0].numel(), generator=self.source)
            return x.flatten(1) + torch.from_numpy(np.float32(self.source.random(x[0].numel())))

    for source in (torch.Generator().manual_seed(0), np.random.default_rng(0)):
        fresh = Fresh(Noisy(source))
        assert not torch.equal(fresh(x), fresh(x))


def test_a_plain_callable_is_copied_too(x):
    class Callable:
        def __init__(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return x.flatten(1) + self.calls

    fresh = Fresh(Callable())
    assert torch.equal(fresh(x), fresh(x))


def test_what_cannot_be_copied_says_so_at_once(x):
    class Bound(nn.Module):
        def __deepcopy__(self, memo):
            raise TypeError("a handle to a device")

    with pytest.raises(TypeError, match="a handle"):
        Fresh(Bound())


def test_a_twin_of_it_has_no_memory_either(x):
    twin, keys = Twin(Fresh(Counting())), as_keys([("test", row) for row in range(len(x))])
    first = twin.logits(x, keys)
    assert torch.equal(twin.logits(x, keys), first) and torch.allclose(twin.logits(x[:2], keys[:2]), first[:2] - 2)
