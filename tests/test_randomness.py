"""One image, one answer: noise depends on the key alone."""

import random

import numpy as np
import pytest
import torch

from escrime.randomness import (
    as_keys,
    copied_keys,
    derive,
    fractions,
    generator,
    generators_kept,
    key,
    noise_keys,
    row_keys,
    uniform_noise,
)


def test_noise_follows_the_key_not_the_batch():
    like = torch.zeros(3, 1, 4, 4)
    keys = as_keys([(0, "a"), (0, "b"), (0, "c")])
    together = uniform_noise(like, 5, keys)
    alone = uniform_noise(like[:1], 5, keys[1:2])
    assert torch.equal(together[:, 1], alone[:, 0])
    assert not torch.equal(together[:, 0], together[:, 1])


def test_noise_is_uniform_in_minus_one_to_one():
    noise = uniform_noise(torch.zeros(1, 3, 64, 64), 8, as_keys([(1, "x")]))
    assert noise.min() >= -1 and noise.max() <= 1
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.var()) - 1 / 3) < 0.01


def test_keys_of_different_types_differ():
    draws = [torch.rand(1, generator=generator(*key)).item() for key in [(1, 2), ("1", "2"), (12,), (1, 2.0), ("1\x1f2",)]]
    assert len(set(draws)) == len(draws)


def test_a_number_of_numpy_or_torch_has_the_key_of_pythons():
    for same in (np.int64(5), np.int32(5), torch.tensor(5), np.array(5)):
        assert key(0, same) == key(0, 5) == key(np.uint8(0), 5)
    assert key(np.float64(0.1)) == key(torch.tensor(0.1, dtype=torch.float64)) == key(0.1)
    assert key(np.str_("a")) == key("a") and key(0, 5) == 4945892142218296046, "committed results rest on the keys"


def test_global_generator_is_untouched():
    before = torch.random.get_rng_state()
    uniform_noise(torch.zeros(2, 1, 2, 2), 2, as_keys([(0, 1), (0, 2)]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_module_on_the_global_generator_gets_noise_of_its_own_per_purpose():
    def drawn(*keys):
        with row_keys(keys):
            return torch.rand(3)

    attack, verdict = drawn((0, "a", "FGSM")), drawn((0, "a", "verdict"))
    assert not torch.equal(attack, verdict)
    assert torch.equal(attack, drawn((0, "a", "FGSM")))


@pytest.mark.parametrize("draw", [lambda: np.random.randn(3).tolist(), lambda: random.gauss(0, 1)], ids=["numpy", "python"])
def test_so_does_one_on_numpys_or_pythons_generator(draw):
    def drawn(*keys):
        with row_keys(keys):
            return draw()

    draw()  # an odd number of times: both generators keep the other half of a pair
    before = np.random.get_state(), random.getstate()
    attack, verdict = drawn((0, "a", "FGSM")), drawn((0, "a", "verdict"))
    assert attack != verdict and attack == drawn((0, "a", "FGSM"))
    with generators_kept(), row_keys([(0, "a", "FGSM")]):
        assert drawn((0, "a", "verdict")) == verdict and draw() == attack, "a block within changes nothing around it"
    assert str(before) == str((np.random.get_state(), random.getstate()))


def test_keys_hold_within_the_block_only():
    with row_keys([(0,)]):
        assert noise_keys(1).equal(as_keys([(0,)]))
    assert noise_keys(1) is None


IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.3, 1, 4)[:, None, None, None]
CHANGED = {
    "copies of the batch": lambda x: torch.cat([x, x.flip(3), x.roll(1, 2)]),
    "copies beside each other": lambda x: torch.stack([x, x.flip(3), x[..., :8] * 0.99], dim=1).flatten(0, 1),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_copies_of_an_image_have_the_same_keys_in_any_batch(change):
    keys, beside = as_keys([(0, name) for name in "abcd"]), change is CHANGED["copies beside each other"]
    with row_keys(keys):
        whole = noise_keys(change(IMAGES))
    assert len(whole.unique()) == 12
    for row in range(4):
        with row_keys(keys[row : row + 1]):
            own = noise_keys(change(IMAGES[row : row + 1]))
        assert own.equal(whole[3 * row : 3 * row + 3] if beside else whole[row::4])


def test_parts_of_a_batch_have_the_keys_of_their_rows():
    keys = as_keys([(0, name) for name in "abcde"])
    for _ in range(2):
        with row_keys(keys):
            assert torch.cat([noise_keys(part) for part in torch.rand(5, 3, 8, 8).split(2)]).equal(keys)
            assert torch.cat([noise_keys(2), noise_keys(3)]).equal(keys)


def test_other_batches_have_keys_too():
    keys = as_keys([(0, name) for name in "abc"])
    with row_keys(keys):
        some = noise_keys(torch.rand(5, 3, 8, 8))
        assert len(some.unique()) == 5 and noise_keys(5).equal(some) and len(noise_keys(2)) == 2


def test_copies_of_a_batch_have_keys_of_their_own():
    keys = as_keys([(0, name) for name in "abc"])
    with copied_keys(2):
        assert noise_keys(6) is None
    with row_keys(keys):
        with copied_keys(2):
            whole = noise_keys(6)
        assert noise_keys(3).equal(keys)
    with row_keys(keys[1:2]), copied_keys(2):
        assert noise_keys(2).equal(whole[1::3]), "whatever the batch"
    assert len(torch.cat([whole, keys, derive(keys, 0), derive(keys, 1)]).unique()) == 15


def test_derived_keys_and_fractions_belong_to_the_row_alone():
    keys = as_keys([(0, name) for name in "abcd"])
    step = torch.tensor([3, 1, 3, 2])
    assert derive(keys, step)[2:].equal(derive(keys[2:], step[2:])) and (derive(keys, step) >= 0).all()
    several = torch.cat([keys, *(derive(keys, n) for n in range(50)), derive(derive(keys, 1), 2), derive(derive(keys, 2), 1)])
    assert len(several.unique()) == len(several)
    assert fractions(keys, 5)[1:3].equal(fractions(keys[1:3], 5))


def test_fractions_are_uniform_and_unrelated():
    numbers = fractions(derive(as_keys([(0,)]), torch.arange(4000)), 8)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, bins=16, min=0, max=1)
    assert ((counts - 2000).abs() < 5 * 2000**0.5).all()
    table = torch.corrcoef(torch.cat([numbers, numbers.roll(1, dims=0)], dim=1).T) - torch.eye(16)
    assert table.abs().max() < 0.08
