"""Memory is told from chance: what a model keeps between two questions, and whether its predictions show it."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn

from escrime import PGD, Effort, PredictionAveraging, evaluate
from escrime.evaluation.checks.state import Memory, memory_findings
from escrime.evaluation.checks.state import memory_of as look_for_memory
from escrime.models.fresh import Fresh

REACH = 0.05


def memory_of(model, images, reach, seed) -> Memory:
    try:
        fresh = Fresh(model)
    except TypeError:
        fresh = None
    return look_for_memory(model, fresh, images, reach, seed)


class Remembering(nn.Module):
    """A network whose logits `tell` may change by what was asked before."""

    def __init__(self, network, tell):
        super().__init__()
        self.network, self.calls, self.seen = network, 0, []
        self.register_buffer("mean", torch.zeros(()))
        self.tell = tell

    def forward(self, x):
        return self.tell(self, x, self.network(x))


def counts(model, x, logits):
    model.calls += 1
    return logits if model.calls < 9 else logits.roll(1, 1)


def looks_up(model, x, logits):
    """Blacklight: what is close to an earlier question, but not the same, gets the prediction of that."""
    logits = logits.clone()
    for row, image in enumerate(x):
        for before, said in model.seen:
            if 0 < float((before - image).abs().max()) <= 2 * REACH:
                logits[row] = said
                break
        else:
            model.seen.append((image.clone(), logits[row].clone()))
    return logits


def adapts(model, x, logits):
    model.mean.mul_(0.9).add_(x.mean(), alpha=0.1)
    return logits + model.mean * torch.arange(logits.shape[1])


def caches(model, x, logits):
    model.seen.append(float(x.mean()))
    return logits


def counts_in_numpy(model, x, logits):
    model.calls = np.asarray(model.calls) + 1
    return logits


@pytest.fixture
def ask(linear, data):
    def asked(tell, **others) -> Memory:
        model = Remembering(linear, tell)
        for name, value in others.items():
            setattr(model, name, value)
        return memory_of(model, data[0], REACH, seed=0)

    return asked


@pytest.mark.parametrize("tell, name", [(counts, "calls"), (looks_up, "seen"), (adapts, "mean")])
def test_memory_that_shows_is_an_alarm_and_names_where_it_lies(ask, tell, name):
    memory = ask(tell)
    assert memory.shows and memory.copied and name in memory.changed
    (finding,) = memory_findings(memory)
    assert finding.id == "stateful" and finding.severity == "alarm" and name in finding.message
    assert "judged as it was at the beginning" in finding.message


@pytest.mark.parametrize("tell, name", [(caches, "seen"), (counts_in_numpy, "calls")])
def test_a_cache_that_changes_no_prediction_is_a_note(ask, tell, name):
    memory = ask(tell)
    assert memory.changed == (name,) and not memory.shows
    assert [finding.severity for finding in memory_findings(memory)] == ["note"]


def test_a_classifier_has_no_memory(linear, data, ask):
    batch_norm = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(48, 4)).train()
    averaging = PredictionAveraging(linear, eps_max=0.1, samples=3)
    for model in (linear, batch_norm, averaging, lambda x: linear(x), lru_cache(linear)):
        assert not memory_of(model, data[0], REACH, seed=0), model
    assert batch_norm.training and batch_norm[0].num_batches_tracked == 0
    assert memory_findings(Memory()) == []


def test_noise_is_no_memory(ask):
    """Neither of the global generators, which are seeded for every question, nor of one of the model's own."""
    sources = (torch.Generator().manual_seed(0), np.random.default_rng(0), np.random.RandomState(0))
    draw = {
        "row keys": lambda model, x, z: z + torch.rand(z.shape),
        "own": lambda model, x, z: z + torch.rand(z.shape, generator=model.source),
        "own, of numpy": lambda model, x, z: z + torch.from_numpy(model.source.uniform(size=z.shape)),
    }
    assert not ask(draw["row keys"])
    for source in sources:
        assert not ask(draw["own" if isinstance(source, torch.Generator) else "own, of numpy"], source=source)


def test_what_lies_outside_of_the_copies_is_not_said_to_be_gone(ask):
    """A memory in a closure: fresh copies all write into the same one."""
    seen = []

    def remembers(model, x, logits):
        seen.append(len(x))
        return logits if len(seen) < 9 else logits.roll(1, 1)

    memory = ask(remembers)
    assert memory.shows and not memory.copied
    (finding,) = memory_findings(memory)
    assert "cannot be copied" in finding.message and not finding.answered


def test_a_model_that_cannot_be_copied_is_asked_itself(linear, data):
    class Bound(Remembering):
        def __deepcopy__(self, memo):
            raise TypeError("a handle to a device")

    memory = memory_of(Bound(linear, counts), data[0], REACH, seed=0)
    assert memory.shows and not memory.copied and memory.changed == ("calls",)
    assert not memory_of(Bound(linear, lambda model, x, z: z), data[0], REACH, seed=0)


def test_looking_leaves_no_trace(linear, data):
    model = Remembering(linear, adapts).train()
    model.tell = looks_up
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    memory_of(model, data[0], REACH, seed=0)
    assert model.training and model.calls == 0 and not model.seen and model.mean == 0
    assert torch.equal(before[0], torch.random.get_rng_state()) and before[1] == np.random.get_state()[1].tolist()
    assert all(p.requires_grad for p in model.parameters())


def test_a_single_image_and_none(linear, data):
    for images in (data[0][:1], data[0][:0]):
        assert not memory_of(Remembering(linear, lambda model, x, z: z), images, REACH, seed=0)


def test_a_counter_is_judged_as_it_was_and_not_believed(linear, data):
    """Whoever asks it often enough gets other answers; attacked as it was it falls like the network that it is."""
    images, labels = data[0][:40], data[1][:40]
    few = Effort(images=24, steps=10, queries=50, draws=50, doublings=1)
    plain, counting = (
        evaluate(model, (images, labels), PGD(0.02, steps=10), checks=few).verdicts[0]
        for model in (linear, Remembering(linear, counts))
    )
    assert counting.accuracy == plain.accuracy < 1 and not counting.believe and "stateful" in counting.sentence


class Late(nn.Module):
    """Predicts otherwise after so many calls, which it counts where no copy takes the count along."""

    calls: list = []

    def __init__(self, network, after):
        super().__init__()
        self.network, self.after = network, after
        Late.calls.clear()

    def forward(self, x):
        Late.calls.append(len(x))
        logits = self.network(x)
        return logits if len(Late.calls) <= self.after else logits.roll(1, 1)


@pytest.mark.parametrize("after", [60, 150, 250])
def test_a_memory_that_comes_into_play_late_is_found(linear, data, after):
    effort = Effort(images=30, steps=20, queries=50, draws=20, doublings=1)
    result = evaluate(Late(linear, after), data, PGD(0.05), checks=effort)
    assert len(Late.calls) > after, "or the case would prove nothing"
    assert "stateful" in {finding.id for finding in result.alarms} and not result.verdicts[0].believe
