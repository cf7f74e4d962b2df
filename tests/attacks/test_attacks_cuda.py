"""The laws on a GPU: every attack against what the same attack does on the CPU."""

import copy

import pytest
import torch
from attack_cases import ATTACKS, bound, succeeds

from escrime import FGSM, FMN, PGD, AutoAttack, DeepFool, PredictionAveraging
from escrime.attacks import RandomPoints
from escrime.attacks.adaptive.surrogate import Surrogate
from escrime.models.fast.twin import Twin
from escrime.models.running import full_precision
from escrime.norms import NORMS

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA GPU here", allow_module_level=True)


@pytest.fixture
def many(network):
    """60 images at the labels the network gives them, as far as possible."""
    network.eval()
    images = torch.rand(60, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    network[8].bias.data += network(images).detach().mean(0).neg()
    return images, network(images).argmax(1)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_as_on_the_cpu(attack, network, many):
    images, labels = many
    labels = labels % 3  # so that none is at the target of a targeted attack
    there = copy.deepcopy(network).cuda()
    moved = attack(there, images.cuda(), labels.cuda(), seed=3)
    assert moved.device.type == "cuda" and moved.dtype == torch.float32
    assert NORMS[attack.norm].inside(moved, images.cuda(), bound(attack, images)).all()
    here = attack(network, images, labels, seed=3)
    with full_precision(torch.device("cuda")):  # what lies just over the boundary is, in TensorFloat-32, on either side
        fooled = [succeeds(net, x, y, attack).cpu() for net, x, y in ((there, moved, labels.cuda()), (network, here, labels))]
    if isinstance(attack, RandomPoints):  # nothing but noise, and a GPU's is another
        assert abs(int(fooled[0].sum()) - int(fooled[1].sum())) <= 10
    else:  # where two boundaries are a rounding apart, one image may fall on one side only
        assert (fooled[0] != fooled[1]).sum() <= 3, (fooled[0].sum(), fooled[1].sum())


@pytest.mark.parametrize("attack", [DeepFool(), DeepFool(norm="linf"), FMN(), PGD(0.1, steps=20, early_stop=True)], ids=repr)
def test_a_success_is_what_the_original_says_whatever_the_batch(attack, network, many):
    """Jobs leave one by one, and each size of the batch may have a TensorFloat-32 kernel of its own."""
    images, labels = (t.cuda() for t in many)
    there = network.eval().cuda()
    outcome = attack.sweep(Twin(there), images, labels, [attack.eps])[0]
    with full_precision(torch.device("cuda")):
        wrong = there(outcome.adversarial).argmax(1) != labels
    assert outcome.success.any() and wrong.cpu()[outcome.success].all()


@pytest.mark.parametrize("attack", [PGD(0.1, steps=4), AutoAttack(0.1, steps=4, queries=12)], ids=repr)
def test_no_trace(attack, network, many):
    images, labels = (t.cuda() for t in many)
    network.train().cuda()
    network[1].eval()
    before = torch.cuda.get_rng_state(), torch.get_rng_state(), [m.training for m in network.modules()]
    attack(network, images, labels)
    assert torch.equal(before[0], torch.cuda.get_rng_state()) and torch.equal(before[1], torch.get_rng_state())
    assert before[2] == [m.training for m in network.modules()]
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"compiled": True}], ids=str)
def test_other_copies_are_verified_on_the_original(options, network, many):
    images, labels = (t.cuda() for t in many)
    network.eval().cuda()
    twin = Twin(network, **options)
    for outcome in PGD(0.1, steps=10).sweep(twin, images, labels, [0.02, 0.1]):
        fooled = network(outcome.adversarial).argmax(1) != labels
        assert torch.equal(fooled.cpu(), outcome.success)


def test_defenses_and_surfaces(network, many):
    images, labels = (t.cuda() for t in many)
    network.eval().cuda()
    for model in (PredictionAveraging(network, eps_max=0.1, samples=4), Surrogate(network, through=True, smooth=0.01)):
        for attack in (FGSM(0.1), PGD(0.1, steps=5, eot=2)):
            moved = attack(model, images, labels, seed=1)
            assert NORMS["linf"].inside(moved, images, 0.1).all()
            assert (network(moved).argmax(1) != labels).float().mean() > 0.3


@pytest.mark.parametrize("attack", [PGD(0.1, steps=8), FMN()], ids=repr)
def test_an_autocast_of_the_callers_changes_nothing(attack, network, many):
    images, labels = (t.cuda() for t in many)
    network.eval().cuda()
    plain = attack(network, images, labels)
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.equal(attack(network, images, labels), plain)


def test_buffers_that_a_model_writes_are_put_back(network, many):
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, images):
            self.seen += len(images)
            return self.network(images)

    model = Counts().eval().cuda()
    FGSM(0.1)(model, *(t.cuda() for t in many))
    assert model.seen.device.type == "cuda" and model.seen.item() == 0
