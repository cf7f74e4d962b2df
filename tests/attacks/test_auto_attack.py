"""AutoAttack beyond the laws: each stage sees the images that still stand, and an image falls if any stage fells it."""

import pytest
import torch
from attack_cases import Counted, Linear, Rowwise, grey, labels_of, plain

from escrime import APGD, FMN, AutoAttack, EscrimeError, PredictionAveraging, Square
from escrime.norms import NORMS

FAST = {"steps": 10, "queries": 40, "targets_tried": 3}
NAMES = ["APGD-CE", "APGD-DLR-T", "FMN", "Square"]


@pytest.fixture
def watched(monkeypatch):
    """Which images each stage of an AutoAttack was given, and at which it succeeded: [(name, ids, success), …]."""
    seen = []
    for kind in (APGD, FMN, Square):

        def sweep(self, twin, inputs, budgets, wanted, original=kind._sweep):
            outcomes = original(self, twin, inputs, budgets, wanted)
            seen.append((self.name, wanted.clone(), inputs.ids, torch.stack([o.success for o in outcomes])))
            return outcomes

        monkeypatch.setattr(kind, "_sweep", sweep)
    return seen


@pytest.fixture
def mixed():
    """A model and images of which some are wrong from the start, some fall at half of the ε, some at none."""
    model, images = Rowwise(), torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    labels = labels_of(model, images)
    labels[:4] = (labels[:4] + 1) % 4
    return model, images, labels


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_stage_sees_what_the_stages_before_left_standing(watched, mixed, norm):
    model, images, labels = mixed
    eps = 0.03 if norm == "linf" else 0.1
    outcome = AutoAttack(eps, norm=norm, **FAST).sweep(model, images, labels, [eps])[0]
    assert [name for name, *_ in watched] == NAMES
    standing = set(range(4, 40))
    for _, _, ids, success in watched:
        assert set(ids) == standing
        standing -= {i for i, won in zip(ids, success[0].tolist()) if won}
    assert 0 < len(standing) < 36, "this test needs images that fall and images that stand"
    assert {i for i, won in enumerate(outcome.success.tolist()) if not won} == standing
    assert torch.equal(labels_of(model, outcome.adversarial) != labels, outcome.success)


def test_several_epsilons_stand_on_their_own(watched, mixed):
    """An image that is fooled at a large ε is attacked on at the smaller ones only; the results are those of single runs."""
    model, images, labels = mixed
    grid = [0.02, 0.05, 0.1]
    outcomes = AutoAttack(0.1, **FAST).sweep(model, images, labels, grid)
    for (_, before, _, success), (_, after, _, _) in zip(watched, watched[1:]):
        assert after.sum() == (before & ~success).sum()
    for eps, outcome in zip(grid, outcomes):
        alone = AutoAttack(eps, **FAST).sweep(model, images, labels, [eps])[0]
        assert torch.equal(outcome.success, alone.success) and NORMS["linf"].inside(outcome.adversarial, images, eps).all()
    fooled = torch.stack([o.success for o in outcomes])
    assert fooled[0].sum() < fooled[-1].sum()


def test_it_falls_where_any_stage_alone_fells_it(mixed):
    model, images, labels = mixed
    attack = AutoAttack(0.03, **FAST)
    together = attack.sweep(model, images, labels, [0.03])[0].success
    alone = [stage.sweep(model, images, labels, [0.03])[0].success for stage in attack.stages(4, targeted=False)]
    assert torch.equal(together, torch.stack([*alone, labels_of(model, images) != labels]).any(0))


def test_an_image_that_is_wrong_from_the_start_costs_one_forward(mixed):
    model, images, labels = mixed
    counted = Counted(model)
    outcome = AutoAttack(0.03, **FAST).sweep(plain(counted), images[:4], labels[:4], [0.03])[0]
    assert torch.equal(outcome.adversarial, images[:4]) and outcome.success.all()
    assert counted.tally.forwards == 4 and (outcome.forwards == 1).all() and (outcome.backwards == 0).all()


def test_what_never_falls_keeps_an_answer_at_the_edge_of_the_ball():
    """Not the clean image: its lower confidence is of interest."""
    model, images = Linear(), grey(10, spread=0.5)
    labels, eps = labels_of(model, images), 1e-4
    outcome = AutoAttack(eps, **FAST).sweep(model, images, labels, [eps])[0]
    away = NORMS["linf"].distance(outcome.adversarial, images)
    assert (~outcome.success).any() and (away[~outcome.success] > 0.9 * eps).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("early_stop", [True, False])
def test_few_classes(watched, norm, classes, early_stop):
    """The targeted DLR loss needs four: with fewer the margin stands in."""
    model, images = Linear(classes), grey(20, spread=0.5)
    labels, eps = labels_of(model, images), 0.1 if norm == "linf" else 1.0
    moved = AutoAttack(eps, norm=norm, early_stop=early_stop, **FAST)(model, images, labels)
    assert (labels_of(model, moved) != labels).all()
    if not early_stop:
        assert [name for name, *_ in watched] == [name.replace("DLR", "DLR" if classes > 3 else "MARGIN") for name in NAMES]
    moved = AutoAttack(eps, norm=norm, **FAST)(model, images, labels, targets=(labels + 1) % classes)
    assert torch.equal(labels_of(model, moved), (labels + 1) % classes)


def test_with_noise_only_what_is_certain_leaves_and_the_expected_margin_chooses(watched, network, images):
    """What is not fooled for certain sees the next stage, and the result is the best on average over fresh noise."""
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    model = PredictionAveraging(network.eval(), 0.1, samples=2)
    attack = AutoAttack(0.01, **FAST).against_noise(3)
    assert attack.eot == 3
    outcome = attack.sweep(model, images, labels, [0.01])[0]
    assert not outcome.success.all() and [name for name, *_ in watched] == NAMES
    assert all(set(later) <= set(ids) for (_, _, ids, _), (_, _, later, _) in zip(watched, watched[1:]))
    others = [stage(model, images, labels) for stage in attack.stages(4, targeted=False)]
    with torch.no_grad():
        odds = lambda x: torch.stack([model(x).softmax(1)[torch.arange(9), labels] for _ in range(200)]).mean(0)  # noqa: E731
        best = torch.stack([odds(x) for x in others]).amin(0)
        assert (odds(outcome.adversarial) <= best + 0.05).all()


def test_a_hidden_gradient_falls_to_the_search_by_scores(watched):
    """Rounded logits have no gradient: the first three stages stay where they start, Square does not notice."""
    model, images = Linear(), grey(20, spread=0.5)
    rounded = lambda x: (model(x) * 20).round() / 20  # noqa: E731
    labels = labels_of(rounded, images)
    eps = (model.reach(images, "linf", labels) * 2 + 0.002).tolist()
    outcome = AutoAttack(eps, steps=5, queries=600, targets_tried=3).sweep(rounded, images, labels, [eps])[0]
    by_gradient = sum(int(success.sum()) for _, _, _, success in watched[:3])
    assert watched[-1][0] == "Square" and by_gradient < 8 and outcome.success.sum() >= 18


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutoAttack(0.1, steps=0), "steps = 0"),
        (lambda: AutoAttack(0.1, queries=-1), "queries = -1"),
        (lambda: AutoAttack(0.1, targets_tried=-1), "targets_tried = -1 is no number of classes; .* 0 for the untargeted loss"),
        (lambda: AutoAttack(0.1, norm="l3"), "'l3' is unknown"),
        (lambda: AutoAttack(8), "larger than the whole color range"),
        (lambda: AutoAttack(None), "ε = None is not a number"),
        (lambda: AutoAttack(0.1, eot=0), "eot = 0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(EscrimeError, match=message):
        make()


@pytest.mark.parametrize("norm", AutoAttack.norms)
def test_without_queries_it_leaves_out_the_search_by_scores_in_every_norm(norm):
    """As under transfer, where examples are made for another network."""
    stages = AutoAttack(0.1 if norm == "linf" else 1, norm=norm, queries=0).stages(10, targeted=False)
    assert len(stages) == {"patch": 1, "l1": 4}.get(norm, 3) and all(stage.access == "gradients" for stage in stages)
