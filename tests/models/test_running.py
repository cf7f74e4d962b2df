"""Batches that do not fit are halved, and the answer stays the same."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from escrime import APGD, FGSM, PGD, Effort, EscrimeError, PredictionAveraging, evaluate
from escrime.evaluation.checks.neighborhood import look_around
from escrime.evaluation.flatness import flatness
from escrime.models.running import Batches, no_trace, passes_per_image


class Small(nn.Module):
    """A device whose memory holds `room` images."""

    def __init__(self, room, error=None):
        super().__init__()
        self.room, self.error, self.refused = room, error or torch.OutOfMemoryError("CUDA out of memory"), 0
        self.layer = nn.Linear(48, 4, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(4, 48, generator=torch.Generator().manual_seed(0)))

    def __deepcopy__(self, memo):
        raise TypeError("the counter is shared")

    def forward(self, x):
        if len(x) > self.room:
            self.refused += 1
            raise self.error
        return self.layer(x.flatten(1))


@pytest.fixture
def data():
    images = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return images, Small(99)(images).argmax(1)


@pytest.mark.parametrize(
    "attack", [FGSM(0.02), PGD(0.02, steps=5, restarts=2), APGD(0.02, steps=5, loss="dlr", targets_tried=2)], ids=repr
)
def test_out_of_memory_halves_the_batch_and_changes_nothing(attack, data):
    small = Small(3)
    assert torch.allclose(attack(small, *data), attack(Small(99), *data), atol=1e-6)
    assert 1 <= small.refused <= 8, "a limit once found is kept"


def test_the_verdict_too(data):
    few = Effort(images=4, steps=3, queries=10, draws=10, doublings=1)
    full, small = (evaluate(Small(room), data, PGD(0.02, steps=3), checks=few).records for room in (99, 2))
    assert full["prediction"].equals(small["prediction"])


def test_the_cpu_allocator_counts_as_memory_and_other_errors_do_not(data):
    allocator = RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried ...")
    assert FGSM(0.02)(Small(3, allocator), *data).shape == data[0].shape
    with pytest.raises(EscrimeError, match="as they are, without any attack .RuntimeError: mat1 and mat2"):
        FGSM(0.02)(Small(3, RuntimeError("mat1 and mat2 shapes cannot be multiplied")), *data)


def test_a_single_image_that_does_not_fit_is_said_in_one_sentence(data):
    with pytest.raises(EscrimeError, match="single image does not fit into memory"):
        PGD(0.02)(Small(0), *data)


def test_batches_cover_every_row_once():
    for limit in (1, 3, 7, 50):
        parts = Batches(limit).map(lambda rows: list(range(10))[rows], 10)
        assert sum(parts, []) == list(range(10)) and max(map(len, parts)) <= limit


class InPlace(nn.Module):
    """Normalizes what it is given where it stands."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), Small(99).layer)

    def forward(self, x):
        return self.network(x.sub_(0.5))


class Apart(InPlace):
    def forward(self, x):
        return self.network(x - 0.5)


def test_a_model_that_writes_into_its_input_is_measured_as_any_other(data):
    images = data[0].clone()
    assert not look_around(InPlace(), images, 0.1, seed=0).randomized
    found = [flatness({"none": model}, images, data[1], range(20), eps=0.1, seed=0) for model in (InPlace(), Apart())]
    assert found[0] == found[1] and torch.equal(images, data[0])


@pytest.mark.parametrize("model", [Small(99), lambda x: x], ids=["module", "callable"])
def test_the_generators_of_numpy_and_python_are_put_back_too(model):
    before = np.random.get_state(), random.getstate()
    with no_trace(model, torch.device("cpu")):
        np.random.randn(3), random.random()
    assert str(before) == str((np.random.get_state(), random.getstate()))


def test_a_model_made_under_inference_mode_is_refused_and_left_as_it_was():
    with torch.inference_mode():
        model = Small(99).train()
    with pytest.raises(EscrimeError, match="layer.weight was made under torch.inference_mode"):
        with no_trace(model, torch.device("cpu")):
            raise AssertionError("its parameters can be frozen, but not set free again")
    assert model.training and model.layer.weight.requires_grad


def test_only_a_number_of_copies_counts_as_one():
    small = Small(99)
    small.copies = nn.ModuleList()
    assert passes_per_image(small) == 1 and passes_per_image(PredictionAveraging(small, 0.1, 3)) == 3
