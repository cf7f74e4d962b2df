"""ε as users write it, and which two are one."""

import pytest

from escrime.budgets import distinct, eps_text, epsilon
from escrime.errors import EscrimeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("8/255", 8 / 255), (0.03, 0.03), ("0.025", 0.025), (0, 0.0), (" 4 / 255", 4 / 255), ("0.5/255", 0.5 / 255)),
        *(("1e-2", 0.01), (".05", 0.05), ("2/25.5", 2 / 25.5), ("1/1e3", 0.001), ("0.3", 0.3)),
    ],
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
        ("8/", "not a number"),
        ("/255", "not a number"),
        ("8/255/2", "not a number"),
        ("8/two", "not a number"),
        ("", "not a number"),
        ("1e300/1e-300", "larger than any number"),
        ("0/0.0", "zero"),
        ("-0.5/255", "negative"),
        (True, "not a number"),
    ],
)
def test_epsilon_refuses_by_name(value, said):
    with pytest.raises(EscrimeError, match=said):
        epsilon(value)


@pytest.mark.parametrize(
    "text", ["4/255", "0.5/255", "2.5/255", "0.25/255", "0.1", "0.2", "0.0157", "0.03", "0", "1e-05", "0.002"]
)
def test_an_epsilon_is_shown_as_it_was_typed(text):
    assert eps_text(epsilon(text)) == text and epsilon(eps_text(epsilon(text))) == epsilon(text)


def test_an_epsilon_is_shown_in_levels_where_it_counts_them():
    assert eps_text(8 / 255, levels=False) == "0.031373" and eps_text(1.5) == "1.5" and eps_text(340 / 255) == "1.33333"
    assert eps_text(round(8 / 255, 6)) == eps_text(0.031372549) == "8/255" and eps_text(0.0123456) == "0.012346"


def test_above_one_only_where_the_norm_has_more():
    assert epsilon(3, largest=float("inf")) == 3.0


def test_epsilons_that_agree_to_nine_digits_are_one():
    assert distinct([0.1, 8 / 255, 0.0, 0.031372549, 0.1 + 1e-12]) == [0.1, 8 / 255, 0.0]
    assert distinct([1e-9, 0]) == [1e-9, 0]
    with pytest.raises(EscrimeError, match="1e-10 is too small"):
        distinct([0, 1e-10])
