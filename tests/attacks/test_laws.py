"""The laws every attack keeps: box and ball, one image one answer, no trace, and NaN is never a success."""

import pytest
import torch
from torch import nn

from escrime import APGD, DGSM, FGSM, PGD, EscrimeError, PredictionAveraging
from escrime.threat import inside

ATTACKS = [
    FGSM(0.1),
    FGSM(0.5, norm="l2"),
    FGSM(0.1, eot=3),
    DGSM(0.1, target=3),
    DGSM(0.1, target=3, steps=1),
    DGSM(0.1, target=3, early_stop=True, eot=2),
    PGD(0.1, steps=4),
    PGD(0.5, steps=4, norm="l2", momentum=0.9, early_stop=False),
    PGD(0.1, steps=3, restarts=2, target=3, loss="margin"),
    APGD(0.1, steps=8),
    APGD(0.5, steps=8, norm="l2", loss="dlr", early_stop=False),
    APGD(0.05, steps=5, loss="dlr", targets_tried=2),
]
EVERY = pytest.mark.parametrize("attack", ATTACKS, ids=repr)


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


@EVERY
def test_box_and_ball_to_the_last_bit(attack, network, images, labels):
    assert inside(attack(network, images, labels), images, attack.eps, attack.norm).all()


@EVERY
def test_input_is_not_changed_and_an_attack_happens(attack, network, images, labels):
    before = images.clone()
    moved = attack(network, images, labels)
    assert torch.equal(images, before) and not torch.equal(moved, images)


@EVERY
@pytest.mark.parametrize("size", [1, 4])
def test_one_image_one_answer_in_any_batch_and_order(attack, network, images, labels, size):
    model = PredictionAveraging(network, 0.1, samples=4)
    ids = [f"image-{i}" for i in range(len(images))]
    whole = attack(model, images, labels, ids=ids, seed=5)
    order = torch.tensor([4, 2, 8, 0, 1, 7, 3, 6, 5])
    for rows in order.split(size):
        part = attack(model, images[rows], labels[rows], ids=[ids[i] for i in rows], seed=5)
        assert torch.allclose(part, whole[rows], atol=1e-6)


@EVERY
def test_seed_matters_exactly_where_something_is_random(attack, network, images, labels):
    same = torch.equal(attack(network, images, labels, seed=0), attack(network, images, labels, seed=1))
    assert same == isinstance(attack, (FGSM, DGSM)), "of these attacks, all others start at random"
    noisy = PredictionAveraging(network, 0.3, samples=2)
    assert not torch.equal(attack(noisy, images, labels, seed=0), attack(noisy, images, labels, seed=1))


@EVERY
def test_no_trace(attack, network, images, labels):
    hooked = []
    network[0].register_forward_hook(lambda *_: hooked.append(1))
    modes = [m.training for m in network.modules()]
    wanted = [p.requires_grad for p in network.parameters()]
    state = {k: v.clone() for k, v in network.state_dict().items()}
    network[8].weight.grad = torch.ones_like(network[8].weight)
    hooks = len(network[0]._forward_hooks)
    random = torch.random.get_rng_state()
    attack(network, images, labels)
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert torch.equal(network[8].weight.grad, torch.ones_like(network[8].weight))
    assert all(p.grad is None for p in network.parameters() if p is not network[8].weight)
    assert len(network[0]._forward_hooks) == hooks and hooked
    assert torch.equal(random, torch.random.get_rng_state())


@EVERY
def test_works_without_gradients_enabled(attack, network, images, labels):
    with torch.no_grad():
        moved = attack(network, images, labels)
    assert not moved.requires_grad and torch.equal(moved, attack(network, images, labels))


@EVERY
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_reported_by_image_not_counted(attack, linear, images, labels, value):
    class Broken(nn.Module):
        def forward(self, x):
            nearest = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
            return torch.where((nearest == 3)[:, None], value, 1.0) * linear(x)

    with pytest.raises(EscrimeError, match="'d'"):
        attack(Broken(), images, labels, ids=list("abcdefghi"))


@EVERY
def test_wrong_shapes_are_refused(attack, network, images, labels):
    with pytest.raises(EscrimeError, match="logits"):
        attack(nn.Flatten(0), images, labels)
    with pytest.raises(EscrimeError, match="one id per image"):
        attack(network, images, labels, ids=[1])
    with pytest.raises(EscrimeError, match="one class index per image"):
        attack(network, images, labels[:-1])


@EVERY
def test_the_state_is_restored_after_an_error(attack, network, images, labels):
    network[4].weight.data.fill_(float("nan"))
    modes = [m.training for m in network.modules()]
    with pytest.raises(EscrimeError):
        attack(network, images, labels)
    assert [m.training for m in network.modules()] == modes


@EVERY
def test_no_images_is_no_work(attack, network, images, labels):
    assert attack(network, images[:0], labels[:0]).shape == (0, 3, 5, 5)
