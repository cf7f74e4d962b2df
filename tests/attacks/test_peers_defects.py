"""Defects found in the source of other libraries, each as one test that escrime passes. The docstring names who has it."""

from dataclasses import replace

import pytest
import torch
from attack_cases import AUTO, CW, Counted, Linear, Rowwise, grey, labels_of, plain
from torch import nn

from escrime import APGD, DGSM, FGSM, FMN, PGD, AutoAttack, CarliniWagner, DeepFool, EscrimeError, Square, WorstCase
from escrime.attacks.core.losses import next_classes
from escrime.norms import NORMS

GRADIENT = [
    FGSM(0.1),
    PGD(0.1, steps=3),
    APGD(0.1, steps=3),
    FMN(steps=3),
    DeepFool(steps=3),
    CarliniWagner(**CW),
    AutoAttack(0.1, **AUTO),
]
MINIMUM_NORM = [FMN(), FMN(norm="l2"), DeepFool(), CarliniWagner(steps=40, rounds=4, initial_c=1.0)]
AT_RANDOM = [PGD(0.1, steps=3), APGD(0.1, steps=3), Square(0.1, queries=5), AutoAttack(0.1, **AUTO)]


@pytest.fixture
def model():
    return Linear()


@pytest.fixture
def easy(model):
    """Images that a step of 0.1 fools, and their labels."""
    return grey(30), labels_of(model, grey(30))


class Noisy(nn.Module):
    """Ignores its input and errs in 5 % of its outputs, by torch's global generator."""

    def forward(self, x):
        lucky, one = torch.rand(len(x)) < 0.05, torch.ones(len(x))
        return torch.stack([one, 2.0 * lucky, -one, -one], dim=1) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("attack", [PGD(0.1, steps=1), APGD(0.1, steps=1), DGSM(0.1, steps=1), FMN(0.1, steps=1)], ids=repr)
def test_one_step_is_an_attack(attack, model, easy):
    """adv-lib's PGD tests the iterate before the step and never the last one; secml-torch's starts count as results."""
    images, labels = easy
    moved = attack(model, images, labels, targets=(labels + 1) % 4 if isinstance(attack, DGSM) else None)
    assert (labels_of(model, moved) != labels).float().mean() > 0.9


@pytest.mark.parametrize("attack", [AutoAttack(0.1, **AUTO), WorstCase(FGSM(0.1)), WorstCase(PGD(0.1, steps=3))], ids=repr)
def test_the_best_of_several_attacks_is_not_the_clean_image(attack, model, easy):
    """secml-torch's minimum over attacks starts from distance 0 of the clean image, which nothing beats."""
    images, labels = easy
    moved = attack(model, images, labels)
    assert (labels_of(model, moved) != labels).all() and (NORMS["linf"].distance(moved, images) > 0).all()


@pytest.mark.parametrize("attack", GRADIENT, ids=repr)
def test_no_gradients_of_parameters(attack, model, easy):
    """secml-torch, torchattacks, cleverhans and ART call backward(): each parameter gets a gradient, ART wipes the user's."""
    model.weight.grad = torch.full_like(model.weight, 7.0)
    for way in (model, plain(model)):
        attack(way, *easy)
        assert (model.weight.grad == 7).all() and model.bias.grad is None and model.weight.requires_grad


def test_projection_in_l2_never_lengthens():
    """adv-lib clamps the scaled vector instead of the scale: a vector of norm 0.1 becomes one of norm 1."""
    images = torch.full((2, 3, 4, 4), 0.5)
    delta = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    delta = delta / delta.flatten(1).norm(dim=1)[:, None, None, None] * torch.tensor([0.1, 1.5])[:, None, None, None]
    short, long = NORMS["l2"].distance(NORMS["l2"].project(images + delta, images, 1.0), images)
    assert short == pytest.approx(0.1, abs=1e-6) and long == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("attack", MINIMUM_NORM, ids=repr)
def test_a_targeted_minimum_norm_search_hits_the_target(attack, model, easy):
    """adv-lib's minimal APGD is content with any other class when it is targeted, and returns its input."""
    images, labels = easy
    targets = (labels + 2) % 4
    assert torch.equal(labels_of(model, attack(model, images, labels, targets=targets)), targets)


def test_classes_tried_are_never_the_label(model):
    """adv-lib takes the second and later logits as targets, so that of a misclassified image its own label may be one."""
    logits = model(grey(12)).detach()
    wrong = (logits.argmax(1) + torch.arange(12) % 3 + 1) % 4
    tried = torch.stack([next_classes(logits, wrong, rank) for rank in range(3)])
    assert (tried != wrong).all() and torch.equal(tried[0], logits.argmax(1))
    assert (tried.sort(0).values.diff(dim=0) > 0).all(), "each other class once"


@pytest.mark.parametrize("attack", GRADIENT, ids=repr)
def test_hooks_are_left_alone_and_none_stays(attack, network, images, labels):
    """adv-lib's counter registers hooks that it never removes, and times with CUDA events, so that it fails on a CPU."""
    seen = []
    network[4].register_forward_hook(lambda *_: seen.append(1))
    attack(network, images, labels)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()]
    assert sum(hooks) == 1 and hooks[5] == 1 and seen


@pytest.mark.parametrize(
    "attack", [PGD(0.3, steps=100), APGD(0.3, steps=100), APGD(0.3, loss="dlr", targets_tried=3), AutoAttack(0.3),
               FMN(0.3, stop_within=True), DeepFool(0.3), Square(0.3)], ids=repr,
)  # fmt: skip
def test_a_fooled_image_stops_costing(attack, model, easy):
    """auto-attack spends 111 forwards on each image of a network that one step of FGSM fools."""
    outcome = attack.sweep(plain(model), *easy, [0.3])[0]
    assert outcome.success.all() and outcome.forwards.mean() < 6 and outcome.forwards.max() < 20


@pytest.mark.parametrize("attack", MINIMUM_NORM, ids=repr)
def test_an_image_that_is_wrong_from_the_start_is_its_own_nearest_example(attack, model, easy):
    """At distance 0 there is nothing nearer to look for: the rest of the search costs passes and changes nothing."""
    images, labels = easy
    outcome = attack.sweep(plain(model), images, (labels + 1) % 4, [None])[0]
    assert torch.equal(outcome.adversarial, images) and (outcome.forwards <= 2).all()


@pytest.mark.parametrize(
    "attack", [PGD(0.1, steps=4, eot=40), APGD(0.1, steps=4, eot=40), Square(0.1, queries=6, eot=40), FMN(steps=4, eot=40),
               AutoAttack(0.1, eot=40, **AUTO)], ids=repr,
)  # fmt: skip
def test_no_single_draw_decides(attack):
    """auto-attack decides by the last noisy forward: of a classifier that errs by chance in 5 % it finds 15 % broken."""
    images = grey(60)
    outcome = attack.sweep(Noisy(), images, torch.zeros(60, dtype=torch.long), [0.1])[0]
    assert not outcome.success.any()


@pytest.mark.parametrize("attack", AT_RANDOM, ids=repr)
def test_the_global_generator_is_untouched_and_noise_is_each_images_own(attack):
    """auto-attack seeds torch's global generator in every call: the user's stream is lost, every batch gets the same noise."""

    def flat(x):
        return torch.tensor([1.0, 0.0, -1.0, -2.0]) + 0 * torch.rand(len(x), 4) + 0 * x.flatten(1).sum(1, keepdim=True)

    images = grey(1).expand(12, -1, -1, -1)
    before = torch.get_rng_state()
    moved = attack(flat, images, torch.zeros(12, dtype=torch.long), ids=range(12))
    assert torch.equal(before, torch.get_rng_state())
    assert len((moved - images).flatten(1).unique(dim=0)) == 12
    other = attack(flat, images, torch.zeros(12, dtype=torch.long), ids=range(12, 24))
    assert len(torch.cat([moved, other]).flatten(1).unique(dim=0)) == 24, "the second batch has noise of its own"


def test_the_clean_images_are_asked_about_once_not_for_every_class(model, easy):
    """auto-attack takes the clean logits again for each class that the targeted attack aims at."""
    outcome = APGD(1e-4, steps=4, loss="dlr", targets_tried=3).sweep(plain(model), *easy, [1e-4])[0]
    standing = ~outcome.success
    assert standing.any() and (outcome.forwards[standing] == 1 + 3 * 5).all()


def test_ten_epsilons_take_one_gradient(model, easy):
    """foolbox takes 20 forwards of FGSM for ten ε, and 410 of PGD-40."""
    counted, grid = Counted(model), [k / 100 for k in range(1, 11)]
    outcomes = FGSM(0.1).sweep(counted, *easy, grid)
    assert counted.tally.forwards == counted.tally.backwards == 30
    assert sum(o.backwards.sum() for o in outcomes) == pytest.approx(30)
    counted = Counted(model)
    FMN(steps=20, tolerance=0).sweep(plain(counted), *easy, grid)
    assert counted.tally.forwards == 30 * 21, "one search serves every ε"


def test_no_hidden_forwards(model, easy):
    """ART evaluates a log message that is off: two more forwards of the whole set in PGD-10."""
    counted = Counted(model)
    PGD(0.1, steps=10, early_stop=False).sweep(plain(counted), *easy, [0.1])
    assert counted.tally.forwards == 30 * 11 and counted.tally.backwards in (30 * 10, 30 * 11)


def test_a_frozen_batchnorm_stays_frozen(network, images, labels):
    """torchattacks restores the mode of all modules with one model.train(), frozen ones too; ART changes the statistics."""
    assert network.training and not network[1].training and network[5].training
    mean = network[1].running_mean.clone(), network[5].running_mean.clone()
    for attack in GRADIENT:
        attack(network, images, labels)
        assert network.training and not network[1].training and network[5].training
        assert torch.equal(network[1].running_mean, mean[0]) and torch.equal(network[5].running_mean, mean[1])


def test_carlini_wagner_does_not_stop_with_its_batch():
    """torchattacks stops all images when the cost of the batch no longer falls."""
    model, gen = Rowwise(), torch.Generator().manual_seed(0)
    images = torch.rand(16, 1, 4, 4, generator=gen)
    labels, attack = labels_of(model, images), CarliniWagner(steps=30, rounds=3, initial_c=1.0)
    alone = attack(model, images[3:4], labels[3:4], ids=[3])
    assert torch.allclose(alone, attack(model, images, labels)[3:4], atol=1e-5)


@pytest.mark.parametrize("attack", [DeepFool(), FMN(steps=20), CarliniWagner(**CW)], ids=repr)
def test_images_share_forwards(attack, model, easy):
    """torchattacks runs DeepFool image by image: the calls of the model grow with the images."""
    counted = Counted(model), Counted(model)
    for one, images in zip(counted, (grey(3), grey(60))):
        attack(plain(one), images, labels_of(model, images))
    assert counted[1].tally.calls <= counted[0].tally.calls + 5


@pytest.mark.parametrize(
    "attack", [FGSM(0.3), PGD(0.1, steps=10), APGD(0.1, steps=10), DGSM(0.1), *MINIMUM_NORM, AutoAttack(0.1, **AUTO)], ids=repr
)
def test_targeted_attacks_descend_in_mixed_precision(attack):
    """Madry's library back-propagates the untargeted loss in its mixed-precision branch: targeted attacks go the wrong way.
    Here the model computes in float32 also where the caller is under autocast."""
    model, images = Linear(2), grey(30, spread=0.5)
    labels = labels_of(model, images)
    with torch.autocast("cpu", torch.bfloat16):
        moved = attack(model, images, labels, targets=1 - labels)
    assert moved.dtype == torch.float32 and (labels_of(model, moved) != labels).all()


@pytest.mark.parametrize("attack", [*GRADIENT, DGSM(0.1), Square(0.1, queries=5), WorstCase(PGD(0.1))], ids=repr)
def test_the_true_label_as_a_target_is_refused(attack, model, easy):
    """advertorch, torchattacks, ART and secml-torch take it and report a model that withstands everything."""
    images, labels = easy
    targets = (labels + 1) % 4
    targets[5] = labels[5]
    with pytest.raises(EscrimeError, match="equals the label of image 5"):
        attack(model, images, labels, targets=targets)
    target = int(labels[0])
    core = attack.attack if isinstance(attack, WorstCase) else attack
    attack = WorstCase(replace(core, target=target)) if isinstance(attack, WorstCase) else replace(core, target=target)
    with pytest.raises(EscrimeError, match=f"target {target} equals the label of image 0"):
        attack(model, images, labels)


@pytest.mark.parametrize("scale", [255.0, -1.0])
def test_images_outside_the_box_are_refused(model, scale):
    """torchattacks clamps images in 0–255 without a word."""
    for attack in GRADIENT:
        with pytest.raises(EscrimeError, match="divide by 255|normalized"):
            attack(model, grey(2) * scale, torch.tensor([0, 1]))


def test_accuracy_never_rises_along_the_worst_case_curve():
    """foolbox and others re-run each ε: an image may fall at a small one and stand at a larger one. Here also where a
    search found its example beyond the small ε, and the projection on that ball happens to be one too."""

    class Island(nn.Module):
        """Wrong between 0.10 and 0.14 from the image, right again, and wrong beyond 0.5: gradients lead to the latter."""

        def forward(self, x):
            away = (x - 0.3).flatten(1).mean(1)
            wrong = (away - 0.5) * 4 + ((away > 0.1) & (away < 0.14)) * 10.0
            return torch.stack([torch.zeros_like(wrong), wrong], 1)

    images, labels, grid = torch.full((1, 1, 2, 2), 0.3), torch.tensor([0]), [0.12, 0.3]
    for attack in (FGSM(0.1), FMN(), DeepFool(norm="linf")):
        curve = [bool(labels_of(Island(), o.adversarial) != 0) for o in WorstCase(attack).sweep(Island(), images, labels, grid)]
        assert curve == sorted(curve), attack
