"""Transfer: examples made on surrogates, which owe the model nothing but its images."""

from dataclasses import replace

import pytest
import torch
from attack_cases import MADE_ELSEWHERE, bound
from torch import nn

from escrime import APGD, FGSM, PGD, AutoAttack, EscrimeError, Spatial, Transfer, WorstCase
from escrime.attacks.transfer import for_transfer, mi_di_ti_fgsm
from escrime.models.ensemble import Ensemble
from escrime.norms import NORMS


def linear(seed, classes=4):
    gen = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Flatten(), nn.Linear(75, classes))
    made[1].weight.data, made[1].bias.data = torch.randn(classes, 75, generator=gen), torch.randn(classes, generator=gen)
    return made


@pytest.mark.parametrize(
    "attack",
    [
        PGD(0.02),
        PGD(0.3, norm="l2", momentum=1.0),
        APGD(0.02, steps=10),
        AutoAttack(0.02, steps=5),
        mi_di_ti_fgsm(0.02, side=5),
    ],
)
def test_on_the_model_itself_it_is_the_attack_that_spends_all_its_steps(attack, images, labels):
    model = linear(0)
    assert torch.equal(Transfer(attack, model)(model, images, labels), for_transfer(attack)(model, images, labels))


def test_what_is_made_on_another_network_fools_less_and_keeps_its_budget(images):
    model, other = linear(0), linear(1)
    labels = model(images).argmax(1)
    wrong = lambda moved: int((model(moved).argmax(1) != labels).sum())  # noqa: E731
    attack = PGD(0.1, early_stop=False)
    own, made = attack(model, images, labels), Transfer(attack, other)(model, images, labels)
    assert wrong(own) == 8 and wrong(made) <= 5
    assert NORMS["linf"].inside(made, images, 0.1).all() and not torch.equal(own, made)


def test_of_several_the_mean_of_the_logits_is_followed(images, labels):
    one, two = linear(1), linear(2)
    mean = linear(1)
    mean[1].weight.data, mean[1].bias.data = (one[1].weight + two[1].weight) / 2, (one[1].bias + two[1].bias) / 2
    assert torch.allclose(Ensemble([one, two])(images), mean(images), atol=1e-5)
    attack = FGSM(0.05)
    both = Transfer(attack, [one, two])(linear(0), images, labels)
    assert torch.equal(both, attack(mean, images, labels)) and not torch.equal(both, attack(one, images, labels))


def test_it_does_not_depend_on_the_batch(images, labels):
    attack, model = Transfer(mi_di_ti_fgsm(0.05, side=20, steps=5), [linear(1), linear(2)]), linear(0)
    whole = attack(model, images, labels)
    parts = [attack(model, images[at : at + 1], labels[at : at + 1], ids=[at]) for at in range(9)]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("attack", MADE_ELSEWHERE, ids=repr)
def test_in_every_norm_it_keeps_its_budget_and_an_image_its_result(attack, images, labels):
    model = linear(0)
    whole = attack(model, images, labels)
    assert NORMS[attack.norm].inside(whole, images, bound(attack, images)).all() and not torch.equal(whole, images)
    assert torch.allclose(attack(model, images[4:6], labels[4:6], ids=[4, 5]), whole[4:6], atol=1e-5)


def test_it_leaves_no_trace_on_the_surrogates(network, images, labels):
    modes = [module.training for module in network.modules()]
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    model, before = linear(0), torch.random.get_rng_state()
    Transfer(PGD(0.05, steps=3), network)(model, images, labels)
    assert modes == [module.training for module in network.modules()]
    assert wanted == [parameter.requires_grad for parameter in network.parameters()]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(before, torch.random.get_rng_state()) and all(p.grad is None for p in network.parameters())


def test_the_passes_are_those_of_the_surrogates_and_success_is_for_others_to_see(images, labels):
    outcome = Transfer(PGD(0.05, steps=3), [linear(1), linear(2)]).sweep(linear(0), images, labels, [0.05])[0]
    assert outcome.success is None
    assert (outcome.backwards == 8).all() and (outcome.forwards >= 8).all(), "of two networks, after each of 3 steps and before"


def test_the_model_is_asked_about_one_image_only(images, labels):
    asked = []
    model = linear(0)

    def black_box(x):
        asked.append(len(x))
        return model(x).detach()

    Transfer(PGD(0.05, steps=3), linear(1))(black_box, images, labels)
    assert asked == [1]


def test_masks_targets_and_norms_are_those_of_the_attack(images, labels):
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[:2] = True
    moved = Transfer(PGD(0.1, steps=3), linear(1))(linear(0), images, labels, mask=mask)
    assert torch.equal(moved[..., 2:, :], images[..., 2:, :]) and not torch.equal(moved, images)
    aimed = Transfer(PGD(0.3, norm="l2", target=3), linear(1))
    rows = labels != 3
    assert (aimed.norm, aimed.target, aimed.eps) == ("l2", 3, 0.3)
    same = for_transfer(aimed.attack)(linear(1), images[rows], labels[rows])
    assert torch.equal(aimed(linear(0), images[rows], labels[rows]), same)
    assert Transfer(WorstCase(PGD(0.1)), linear(1)).made == replace(PGD(0.1), early_stop=False)


@pytest.mark.parametrize(
    ("attack", "surrogates", "words"),
    [
        (PGD(0.1), [], "no surrogate"),
        (PGD(0.1), lambda x: x, "gives no gradients"),
        ("PGD", linear(1), "give one of escrime's attacks"),
        (Spatial(0.5), linear(1), "tries the same images whatever the network is"),
    ],
)
def test_what_is_no_attack_or_no_surrogate_is_refused(attack, surrogates, words):
    with pytest.raises(EscrimeError, match=words):
        Transfer(attack, surrogates)


def test_a_surrogate_of_other_classes_or_another_size_is_refused_in_one_sentence(images, labels):
    for surrogates in (linear(1, 7), [linear(1), linear(2, 7)]):
        with pytest.raises(EscrimeError, match="has 7 classes and .* has 4; wrap it"):
            Transfer(PGD(0.1), surrogates)(linear(0), images, labels)
    with pytest.raises(EscrimeError, match="a surrogate fails on images of 3 × 6 × 6"):
        Transfer(PGD(0.1), linear(1))(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), torch.rand(9, 3, 6, 6), labels)


def test_the_kernel_is_a_share_of_the_image():
    assert [mi_di_ti_fgsm(0.1, side=side).smoothing for side in (8, 32, 224, 299)] == [0, 1, 5, 7]
    attack = mi_di_ti_fgsm(0.1, "l2", side=32, steps=7, diversity=0.0)
    assert (attack.norm, attack.steps, attack.diversity, attack.momentum) == ("l2", 7, 0.0, 1.0)
