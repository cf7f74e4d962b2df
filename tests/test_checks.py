"""Images and labels outside the contract are refused by what they are."""

import pytest
import torch

from escrime.checks import check_images, check_labels
from escrime.errors import EscrimeError


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
