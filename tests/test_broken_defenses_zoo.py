"""The zoo is what it claims: false defenses keep the accuracy and look good to a naive attack, honest models do not.

The naive attack on a defense that hides its gradients is PGD on the model as it is; on one that smooths by noise, the
undefended network's adversarial examples, as in the paper of PPA; on overfitted training, the one step it was trained on.
"""

import pytest
import torch
from broken_defenses import broken, honest

import escrime
from escrime.data import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SEEN = 128  # images that are attacked


@pytest.fixture(scope="module")
def zoo(networks):
    return broken(networks)


@pytest.fixture(scope="module")
def models(networks):
    return honest(networks)


@pytest.fixture(scope="module")
def digits():
    return load("digits").test.batch(slice(None))


def accuracy(model, images, labels) -> float:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return float((model(images).argmax(1) == labels).float().mean())


def attacked(attack, model, digits) -> float:
    """Accuracy under `attack`."""
    images, labels = digits[0][:SEEN], digits[1][:SEEN]
    return accuracy(model, attack(model, images, labels), labels)


def naively(case, digits) -> tuple[float, float]:
    """Accuracy of the defense and of the undefended network under the naive attack on each."""
    attack = escrime.FGSM(case.eps) if case.kind == "overfitted" else escrime.PGD(case.eps, steps=20)
    if case.kind == "smooths":
        images, labels = digits[0][:SEEN], digits[1][:SEEN]
        transferred = attack(case.undefended, images, labels)
        return accuracy(case.model, transferred, labels), accuracy(case.undefended, transferred, labels)
    return attacked(attack, case.model, digits), attacked(attack, case.undefended, digits)


def test_names_are_unique_and_every_kind_is_there(zoo):
    assert len({case.name for case in zoo}) == len(zoo) >= 12
    assert {case.kind for case in zoo} == {"hides", "smooths", "overfitted"}


def test_false_defenses_keep_the_accuracy(zoo, digits):
    pairs = {case.name: (accuracy(case.model, *digits), accuracy(case.undefended, *digits)) for case in zoo}
    lost = {name: pair for name, pair in pairs.items() if pair[0] < 0.9 * pair[1]}
    assert not lost


def test_false_defenses_look_good_to_a_naive_attack(zoo, digits):
    pairs = {case.name: naively(case, digits) for case in zoo}
    poor = {name: pair for name, pair in pairs.items() if pair[0] < pair[1] + 0.1}
    assert not poor


def test_overfitted_training_withstands_one_step_and_not_twenty(zoo, digits):
    (case,) = (case for case in zoo if case.kind == "overfitted")
    clean, one = accuracy(case.model, *digits), attacked(escrime.FGSM(case.eps), case.model, digits)
    many = attacked(escrime.PGD(case.eps, steps=20), case.model, digits)
    assert one > 0.8 * clean and many < one - 0.3


def test_honest_models_are_accurate_and_what_hardened_them_holds(models, digits):
    assert all(accuracy(model, *digits) > 0.9 for model, _ in models.values())
    plain = max(attacked(escrime.PGD(0.15, steps=20), models[name][0], digits) for name in ("lenet", "wide", "conv"))
    for name in ("pgd", "trades", "n-fgsm"):
        model, eps = models[name]
        one, many = (attacked(attack, model, digits) for attack in (escrime.FGSM(eps), escrime.PGD(eps, steps=20)))
        assert many > plain + 0.2 and many > one - 0.25, f"{name}: {one:.0%} after one step, {many:.0%} after twenty"


def test_the_same_networks_again_from_the_folder(zoo, networks, digits):
    again = broken(networks)
    assert all(torch.equal(a.undefended(digits[0]), b.undefended(digits[0])) for a, b in zip(zoo, again))
