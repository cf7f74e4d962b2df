"""Rotations and shifts: what they do to pixels, that the grid is exhausted, and that what counts can be rendered again."""

import pytest
import torch
from torch import nn

import escrime
from escrime import EscrimeError
from escrime.attacks import Spatial
from escrime.evaluation.images import Images
from escrime.evaluation.parts import within_budget
from escrime.norms import norm

GEOMETRY = norm("spatial")


def theta(angle=0.0, right=0.0, down=0.0, factor=1.0, padding=0):
    """Degrees, shares of the side, a factor: as parameters, shares of the full range."""
    return torch.tensor([[angle / 30, right / 0.1, down / 0.1, (factor - 1) / 0.1, padding]], dtype=torch.float64)


@pytest.fixture
def image():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_quarter_turn_is_to_the_left_and_exact(image):
    assert torch.equal(GEOMETRY.render(image, theta(90)), torch.rot90(image, 1, (2, 3)))


def test_shifts_of_whole_pixels(image):
    right = GEOMETRY.render(image, theta(right=1 / 8))
    assert torch.equal(right[..., 1:], image[..., :-1]) and (right[..., 0] == 0).all()
    down = GEOMETRY.render(image, theta(down=1 / 8, padding=1))
    assert torch.equal(down[..., 1:, :], image[..., :-1, :]) and torch.equal(down[..., 0, :], image[..., 0, :]), "border"


def test_twice_the_size_shows_the_middle(image):
    larger = GEOMETRY.render(image, theta(factor=2.0))
    flat = GEOMETRY.render(torch.full_like(image, 0.5), theta(factor=2.0))
    assert torch.allclose(flat, torch.full_like(image, 0.5)) and torch.allclose(
        larger[..., 3:5, 3:5].mean(), image[..., 3:5, 3:5].mean(), atol=0.1
    )


def test_nothing_changes_nothing_and_a_batch_changes_no_bit(image):
    assert torch.equal(GEOMETRY.render(image, theta(padding=2)), image)
    images, made = (
        torch.rand(6, 3, 9, 7),
        torch.cat([theta(7.0 * k, 0.01 * k, -0.02 * k, 1 + 0.01 * k, k % 3) for k in range(6)]),
    )
    whole = GEOMETRY.render(images, made)
    assert torch.equal(whole, torch.cat([GEOMETRY.render(images[k : k + 1], made[k : k + 1]) for k in range(6)]))


def test_size_is_the_largest_share_of_the_full_range():
    sizes = GEOMETRY.size(torch.cat([theta(15), theta(right=-0.1), theta(down=0.02), theta(factor=0.95), theta(30, 0.05)]))
    assert sizes.tolist() == pytest.approx([0.5, 1.0, 0.2, 0.5, 1.0])


class Corner(nn.Module):
    """Class 1 once more than `enough` lies in the upper left corner."""

    def __init__(self, enough=0.5):
        super().__init__()
        self.enough = enough

    def forward(self, x):
        seen = x[:, :, 0, 0].mean(1)
        return torch.stack([torch.zeros_like(seen), seen - self.enough], dim=1)


def test_the_grid_is_exhausted_and_no_point_asked_twice():
    """Only the farthest shift up and left brings the bright pixel into the corner; where nothing does, all points are asked."""
    x = torch.zeros(2, 1, 10, 10)
    x[0, :, 1, 1] = 1.0
    found = Spatial(1.0, angles=1, shifts=3, scales=1, between=0).sweep(Corner(), x, torch.zeros(2, dtype=torch.long), [1.0])[0]
    assert found.success.tolist() == [True, False] and found.forwards[1] <= 10
    assert found.parameters[0].tolist() == pytest.approx(theta(right=-0.1, down=-0.1)[0].tolist())
    assert torch.equal(GEOMETRY.render(x[:1], found.parameters[:1]), found.adversarial[:1])


def test_draws_are_points_of_the_grid_of_each_image_s_own():
    attack = Spatial(1.0, angles=5, shifts=3, draws=4, early_stop=False)
    x, labels = torch.rand(1, 1, 10, 10).expand(8, -1, -1, -1).contiguous(), torch.zeros(8, dtype=torch.long)
    found = attack.sweep(Corner(), x, labels, [1.0])[0]
    assert found.forwards.max() <= 2 * 4 and len({tuple(row.tolist()) for row in found.parameters}) > 1


def test_what_cannot_be_rendered_again_does_not_count(image):
    images = Images(image, torch.zeros(1, dtype=torch.long), ("a",), ("",))
    turned = GEOMETRY.render(image, theta(20))
    for adversarial, made, eps, kept in (
        (turned, theta(20), 1.0, True),
        (turned, theta(20), 0.5, False),  # 20° are two thirds of the range
        (turned, theta(21), 1.0, False),
        (turned, None, 1.0, False),
        (turned + 1e-6, theta(20), 1.0, False),
        (image, torch.full((1, 5), float("nan")), 0.1, True),
    ):
        outcome = escrime.attacks.core.base.Outcome(adversarial, torch.zeros(1), torch.zeros(1), parameters=made)
        verified, shown, far = within_budget(outcome, images, eps, GEOMETRY)
        assert bool(verified) is kept and torch.equal(shown, adversarial if kept else image)
        assert far.item() == pytest.approx(2 / 3 if kept and made is not None and adversarial is turned else 0)


def test_a_callable_cannot_claim_it(image):
    def theirs(model, images, labels):
        return images.flip(3)

    theirs.norm = "spatial"
    with pytest.raises(EscrimeError, match="cannot be seen from the image"):
        escrime.evaluate(Corner(), (image, torch.zeros(1, dtype=torch.long)), theirs, epsilons=1.0)


def test_evaluated_it_is_believed_once_every_point_was_tried():
    images = torch.rand(40, 1, 10, 10, generator=torch.Generator().manual_seed(1))
    labels = (images[:, :, 0, 0].mean(1) > 0.5).long()
    found = escrime.evaluate(Corner(), (images, labels), Spatial(1.0), progress=False)
    (verdict,) = found.verdicts
    assert verdict.norm == "spatial" and verdict.clean == 1 and verdict.accuracy < 0.5
    assert "every point of the grid of rotations, shifts and sizes was tried" in verdict.sentence, verdict.sentence
    assert (found.records["verified"]).all() and (found.records["distance"] <= 1).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"angles": 0}, "angles = 0"),
        ({"padding": "zeroes"}, "Did you mean 'zeros'"),
        ({"draws": -1}, "draws = -1"),
        ({"eps": 2}, "ε = 2"),
    ],
)
def test_refused(settings, sentence):
    with pytest.raises(EscrimeError, match=sentence):
        Spatial(**{"eps": 1.0} | settings)


@pytest.fixture
def corners():
    images = torch.rand(40, 1, 10, 10, generator=torch.Generator().manual_seed(1))
    return images, (images[:, :, 0, 0].mean(1) > 0.5).long()


@pytest.mark.parametrize("few", [{"draws": 40}, {"angles": 1, "shifts": 1}, {"angles": 3, "shifts": 3}])
def test_a_few_points_are_not_all_of_them(few, corners):
    """Nothing says that every point was tried, and nobody has looked for a stronger attack."""
    found = escrime.evaluate(Corner(), corners, Spatial(1.0, **few), progress=False)
    (verdict,) = found.verdicts
    assert not verdict.believe and "was tried" not in verdict.sentence, verdict.sentence


def test_an_attack_that_failed_has_not_tried_every_point(corners):
    class Half(Spatial):
        def _sweep(self, *about):
            raise ValueError("stopped")

    found = escrime.evaluate(Corner(), corners, Half(1.0), progress=False)
    (verdict,) = found.verdicts
    assert not verdict.believe and "was tried" not in verdict.sentence, verdict.sentence


def test_who_sees_labels_only_tries_every_point_too(corners):
    found = escrime.evaluate(
        torch.no_grad()(lambda x: torch.from_numpy(Corner()(x).numpy())),
        corners,
        Spatial(1.0),
        progress=False,
    )
    (verdict,) = found.verdicts
    assert verdict.threat == "black-box" and "was tried" in verdict.sentence and "gradients may" not in verdict.sentence
    assert "few-queries" not in {finding.id for finding in found.checks}


def test_the_range_has_its_own_sentence():
    with pytest.raises(EscrimeError, match="more than the full range of rotations, shifts and sizes"):
        Spatial(30)


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.19, 0.39, 0.5, 0.77, 1.0])
def test_every_point_of_the_grid_keeps_its_budget_to_the_last_bit(eps, image):
    attack = Spatial(eps, scales=3)
    made = attack._parameters(attack._grid, torch.full((len(attack._grid),), eps, dtype=torch.float64))
    assert (GEOMETRY.size(made) <= eps).all() and GEOMETRY.size(made).max() == eps


def test_a_worst_case_over_epsilons_is_refused():
    """The grid of a smaller ε is no part of that of a larger one."""
    with pytest.raises(EscrimeError, match="give Spatial itself each ε"):
        escrime.WorstCase(Spatial(1.0))


class KnowsTheGrid(nn.Module):
    """Right about every rendering of the grid, wrong about any other turn, as it tells by a bright frame's corners."""

    def __init__(self, images, labels):
        super().__init__()
        attack = Spatial(1.0)
        ones = torch.ones(len(attack._grid), dtype=torch.float64)
        made = attack._parameters(attack._grid, ones)
        shown = [GEOMETRY.render(image.expand(len(made), -1, -1, -1), made) for image in images]
        self.known = {row.numpy().tobytes(): int(label) for some, label in zip(shown, labels) for row in some}

    def forward(self, x):
        classes = [self.known.get(row.detach().numpy().tobytes(), -1) for row in x]
        return torch.stack([torch.tensor([0.0, 1.0]) * (1 if c == 1 else -1 if c == 0 else -1e-3) for c in classes])


def test_a_model_that_knows_the_grid_falls_between_its_points():
    images = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    labels = torch.ones(12, dtype=torch.long)
    found = Spatial(1.0).sweep(KnowsTheGrid(images, labels), images, labels, [1.0])[0]
    assert found.success.all() and (found.forwards > 775).all()
    assert torch.equal(GEOMETRY.render(images, found.parameters), found.adversarial)


def test_the_parameters_are_those_of_the_best_point_and_not_of_the_last():
    x = torch.rand(6, 1, 10, 10, generator=torch.Generator().manual_seed(3))
    found = Spatial(1.0, angles=5, shifts=3, early_stop=False).sweep(
        Corner(2.0), x, torch.zeros(6, dtype=torch.long), [0.5, 1.0]
    )
    for outcome in found:
        kept, _ = GEOMETRY.keeps(outcome.adversarial, x, 1.0, outcome.parameters)
        assert kept.all() and not outcome.success.any()
