"""The ground: ε as users write it, bounds kept to the last bit, and images that are refused by name."""

import pytest
import torch

from escrime.errors import EscrimeError
from escrime.threat import check_images, check_labels, distance, distinct, epsilon, inside, linf_bounds, project


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), (0.03, 0.03), ("0.025", 0.025), (0, 0.0), (" 4 / 255", 4 / 255)]
)
def test_epsilon_reads_numbers_and_fractions(text, value):
    assert epsilon(text) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("8/0", "zero"),
        (-0.1, "negative"),
        (8, "8/255"),
        (float("nan"), "finite"),
        ("eight", "not a number"),
        (None, "not a number"),
        (True, "not a number"),
    ],
)
def test_epsilon_refuses_by_name(value, said):
    with pytest.raises(EscrimeError, match=said):
        epsilon(value)


def test_l2_epsilon_may_exceed_one():
    assert epsilon(3, "l2") == 3.0


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(2, 3, 4, 4) * 255, "divide by 255"),
        (torch.randn(2, 3, 4, 4), "normalized"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "uint8"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.float64), "float32"),
        (torch.full((2, 3, 4, 4), float("nan")), "NaN"),
        (torch.zeros(3, 4, 4), r"images\[None\]"),
        ([[0.0]], "list"),
    ],
)
def test_images_outside_the_contract_are_refused_by_cause(images, said):
    with pytest.raises(EscrimeError, match=said):
        check_images(images)


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(EscrimeError, match="class 10"):
        check_labels(torch.tensor([0, 10]), 2, classes=10)


@pytest.mark.parametrize("eps", [0.001, 0.025, 8 / 255, 0.3, 1e-8])
def test_linf_bounds_are_exact_and_as_large_as_float32_allows(eps):
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    lower, upper = linf_bounds(x, eps)
    for bound, outwards in ((lower, -1.0), (upper, 2.0)):
        assert ((bound.double() - x.double()).abs() <= eps).all()
        further = torch.nextafter(bound, torch.tensor(outwards))
        inside_box = (further >= 0) & (further <= 1)
        assert ((further.double() - x.double()).abs() > eps)[inside_box].all()


def test_naive_addition_would_break_the_bound():
    """Why linf_bounds exists: x + ε in float32 steps outside the ball for some pixels."""
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    naive = (x + 0.025).clamp(0, 1)
    assert not inside(naive, x, 0.025).all()
    assert inside(project(naive, x, 0.025), x, 0.025).all()


@pytest.mark.parametrize("eps", [0.01, 0.5, 2.0])
def test_l2_projection_stays_in_ball_and_box_and_keeps_what_is_inside(eps):
    gen = torch.Generator().manual_seed(1)
    x = torch.rand(16, 3, 8, 8, generator=gen)
    far = x + torch.randn(x.shape, generator=gen)
    projected = project(far, x, eps, "l2")
    assert inside(projected, x, eps, "l2").all()
    near = (x + 1e-5 * torch.randn(x.shape, generator=gen)).clamp(0, 1)
    assert torch.equal(project(near, x, 0.5, "l2"), near)
    interior = torch.full_like(x, 0.5)
    assert (
        distance(
            project(interior + 10 * eps * torch.randn(x.shape, generator=gen).sign(), interior, eps, "l2"),
            interior,
            "l2",
        ).max()
        <= eps
    )


def test_epsilons_that_agree_to_nine_digits_are_one():
    assert distinct([0.1, 8 / 255, 0.0, 0.031372549, 0.1 + 1e-12]) == [0.1, 8 / 255, 0.0]
    assert distinct([1e-9, 0]) == [1e-9, 0]
    with pytest.raises(EscrimeError, match="1e-10 is too small"):
        distinct([0, 1e-10])


def test_per_image_epsilon():
    x = torch.full((2, 1, 2, 2), 0.5)
    moved = project(torch.ones_like(x), x, torch.tensor([0.1, 0.2]))
    assert torch.allclose(distance(moved, x), torch.tensor([0.1, 0.2], dtype=torch.float64), atol=1e-7)


def test_l2_is_kept_to_the_last_bit_for_thousands_of_images():
    """Some dark images in a hundred exceeded ε by 10⁻⁹ where the difference was taken, and rounded, in float32."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4000, 3, 4, 4, generator=draw) ** 4
    moved = project(images + 0.5 * torch.randn(images.shape, generator=draw), images, 0.5, "l2")
    assert inside(moved, images, 0.5, "l2").all()
    assert (distance(moved, images, "l2") > 0.499).float().mean() > 0.99
