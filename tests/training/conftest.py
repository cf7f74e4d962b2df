"""The small problems of these tests as fixtures."""

import pytest
import torch
from small_problems import Linear, make_images, make_network


@pytest.fixture
def linear():
    return Linear


@pytest.fixture
def network():
    return make_network


@pytest.fixture
def image_set():
    return make_images


@pytest.fixture
def batch():
    """Eight float64 images away from the borders of the box, three classes, their ids."""
    gen = torch.Generator().manual_seed(2)
    images = 0.3 + 0.4 * torch.rand(8, 3, 4, 4, generator=gen, dtype=torch.float64)
    return images, torch.arange(8) % 3, tuple(f"id{row}" for row in range(8))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """These networks are too small for more: two threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
