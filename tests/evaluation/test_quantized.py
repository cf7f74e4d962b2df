"""Examples as a file holds them: whole levels, within the budget to the last bit."""

import pytest
import torch

from escrime.evaluation.quantized import near_the_grid, on_the_grid
from escrime.norms import NORMS

LEVELS = torch.arange(256).float() / 255


def pictures(eps, seed, on_grid):
    """Images and points of their ball, as far as it goes."""
    source = torch.Generator().manual_seed(seed)
    images = torch.rand(16, 3, 3, 3, generator=source)
    images = (images * 255).round() / 255 if on_grid else images
    moved = (images + eps * (2 * torch.rand(images.shape, generator=source) - 1).sign()).clamp(0, 1)
    return images, moved


@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_every_result_lies_within_the_budget(norm, on_grid):
    for level in range(1, 41):
        for eps in (level / 255, level / 255 * 0.999, level * (1 / 255)):
            eps = min(level, 9) if norm == "l0" else eps * {"linf": 1, "l2": 27**0.5, "l1": 27}[norm]
            images, moved = pictures(level / 255, level, on_grid)
            for rounded in (near_the_grid, on_the_grid):
                found = rounded(moved, images, eps, NORMS[norm])
                assert found.shape == images.shape and found.dtype == torch.float32
                kept = NORMS[norm].inside(found, images, eps) | (found == moved).flatten(1).all(1)
                assert kept.all(), (rounded.__name__, eps, NORMS[norm].distance(found, images).max())


def test_on_the_grid_every_value_is_the_float32_of_a_level():
    for level in range(1, 41):
        images, moved = pictures(level / 255, level, on_grid=True)
        for norm, eps in (("linf", level / 255), ("l2", level / 255 * 27**0.5), ("l1", level / 255 * 27), ("l0", 4)):
            found = on_the_grid(moved, images, eps, NORMS[norm])
            assert torch.isin(found, LEVELS).all(), "these images lie on the grid, so there is always a level"
            assert NORMS[norm].inside(found, images, eps).all()
            assert (found != images).any()


def test_near_the_grid_a_value_is_off_its_level_by_a_last_bit_at_most():
    for level in range(1, 41):
        images, moved = pictures(level / 255, level, on_grid=True)
        found = near_the_grid(moved, images, level / 255, NORMS["linf"])
        assert (found * 255 - (found * 255).round()).abs().max() < 1e-4
        assert (NORMS["linf"].distance(found, images) >= (level - 0.001) / 255).all(), "and as far as the budget goes"


def test_where_no_level_lies_within_the_budget_the_point_stays():
    images = torch.full((2, 1, 2, 2), 0.5)  # between 127 and 128
    moved = images + 0.001
    assert torch.equal(on_the_grid(moved, images, 0.001, NORMS["linf"]), moved)
