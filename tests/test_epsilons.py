"""ε as users write it, and which two are one."""

import pytest

from escrime.budgets import distinct, epsilon
from escrime.errors import EscrimeError


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


def test_above_one_only_where_the_norm_has_more():
    assert epsilon(3, largest=float("inf")) == 3.0


def test_epsilons_that_agree_to_nine_digits_are_one():
    assert distinct([0.1, 8 / 255, 0.0, 0.031372549, 0.1 + 1e-12]) == [0.1, 8 / 255, 0.0]
    assert distinct([1e-9, 0]) == [1e-9, 0]
    with pytest.raises(EscrimeError, match="1e-10 is too small"):
        distinct([0, 1e-10])
