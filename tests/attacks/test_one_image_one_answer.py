"""One image, one answer: the result does not depend on the batch, the order, or the batches that the network is given."""

import pytest
import torch
from attack_cases import ATTACKS, Rowwise, plain, scaled

from escrime import FMN, PGD, AutoAttack, PredictionAveraging, Square
from escrime.attacks import auto_attack
from escrime.models import running
from escrime.models.fast.twin import Twin

EVERY = pytest.mark.parametrize("attack", ATTACKS, ids=repr)
COUNT = 72


@pytest.fixture(scope="module")
def many():
    """A model that computes every row by itself, 72 tiny images, labels below 3."""
    gen = torch.Generator().manual_seed(4)
    return Rowwise(), torch.rand(COUNT, 1, 4, 4, generator=gen), torch.randint(0, 3, (COUNT,), generator=gen)


@pytest.fixture
def batches_of_three(monkeypatch):
    def apply():
        for module in (running, auto_attack):  # who ask how many images there are at a time
            monkeypatch.setattr(module, "network_batch", lambda images: 3)

    return apply


@EVERY
def test_exactly_equal_in_any_batch_and_order(attack, many, batches_of_three):
    """For a model whose arithmetic cannot depend on the batch the results are equal to the last bit."""
    model, images, labels = many
    run = lambda rows: attack(model, images[rows], labels[rows], ids=rows.tolist(), seed=5)  # noqa: E731
    whole = run(torch.arange(COUNT))
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    for size, count in ((64, COUNT), (7, 21), (1, 5)):
        for rows in order[:count].split(size):
            assert torch.equal(run(rows), whole[rows]), f"batches of {size}"
    batches_of_three()
    assert torch.equal(run(order[:12]), whole[order[:12]]), "batches of 3 in the network"


@EVERY
def test_outcomes_are_exactly_equal_too(attack, many, batches_of_three):
    """So are the passes spent and the successes seen, in a sweep; a plain callable, since which answers of a copy are
    verified depends on the gap seen so far."""
    model, images, labels = many
    eps = scaled(attack, [0.02, 0.1])
    sweep = lambda rows: attack.sweep(plain(model), images[rows], labels[rows], eps, ids=rows.tolist())  # noqa: E731
    whole = sweep(torch.arange(12))
    batches_of_three()
    for rows in (torch.arange(11, -1, -1), torch.tensor([5])):
        for one, other in zip(whole, sweep(rows), strict=True):
            assert torch.equal(one.adversarial[rows], other.adversarial)
            assert torch.equal(one.forwards[rows], other.forwards) and torch.equal(one.backwards[rows], other.backwards)
            assert (one.success is None) == (other.success is None)
            assert one.success is None or torch.equal(one.success[rows], other.success)


@EVERY
def test_a_randomized_model_too(attack, network, images):
    """Its noise is drawn per image. Up to rounding: here the arithmetic does depend on the batch."""
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    model = PredictionAveraging(network, 0.1, samples=4)
    ids = [f"image-{i}" for i in range(len(images))]
    whole = attack(model, images, labels, ids=ids, seed=5)
    order = torch.tensor([4, 2, 8, 0, 1, 7, 3, 6, 5])
    different = 0
    for rows in (*order.split(4), *order[:2].split(1)):
        part = attack(model, images[rows], labels[rows], ids=[ids[i] for i in rows], seed=5)
        different += int(((part - whole[rows]).abs() > 1e-6).sum())
    assert different < 0.05 * 11 * images[0].numel(), "a rounding may turn the sign of a gradient of almost zero, now and then"


@pytest.mark.parametrize("attack", [a for a in ATTACKS if isinstance(a, (AutoAttack, FMN, PGD, Square))], ids=repr)
def test_the_original_is_asked_under_the_noise_that_the_copy_saw(attack, network, images):
    """Else the gap between the two is the noise, and whether a success stands depends on what else is in the batch."""
    twin = Twin(PredictionAveraging(network, 0.3, samples=2))
    attack.sweep(twin, images[:4], torch.tensor([0, 1, 2, 0]), scaled(attack, [0.1]))
    assert twin.difference < 1e-4
